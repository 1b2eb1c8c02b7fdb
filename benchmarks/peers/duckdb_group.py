"""duckdb's side of `dedup.py`'s grouping: edges from the first document of each bucket to the others; no more.

duckdb_group.py KEYS at-once|bands LIMIT: a Parquet file of band, key, document; all bands in one query, or band by band;
LIMIT is what duckdb may use of memory, such as 1GB: it writes the rest to the disk.
"""

import json
import sys
import tempfile
import time

import duckdb

EDGES = """
    insert into edges
    with keys as (select {by}, document from '{file}' where {which}),
         buckets as (select {by}, min(document) as leader from keys group by {by} having count(*) > 1)
    select leader, document from keys join buckets using ({by}) where document <> leader
"""


def main() -> None:
    file, how, limit = sys.argv[1:4]
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"threads": 1, "memory_limit": limit, "temp_directory": folder, "preserve_insertion_order": False}
        database = duckdb.connect(config=settings)
        database.execute("create table edges (leader bigint, document bigint)")
        if how == "bands":
            for band in range(14):
                database.execute(EDGES.format(by="key", file=file, which=f"band = {band}"))
        else:
            database.execute(EDGES.format(by="band, key", file=file, which="true"))
        [[found]] = database.execute("select count(*) from (select distinct * from edges)").fetchall()
    seconds = time.process_time() - started
    print(json.dumps({"cpu_seconds": seconds, "start_seconds": started, "edges": found}))


main()
