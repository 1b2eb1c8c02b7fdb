"""polars' side of `dedup.py`'s grouping: edges from the first document of each bucket to the others; no more.

polars_group.py KEYS at-once|bands: a Parquet file of band, key, document; all bands in one query (streaming), or band by
band, which takes it a third of the time and an eighth of the memory.
"""

import json
import sys
import time

import polars as pl


def edges(keys: pl.LazyFrame, by: list[str]) -> pl.LazyFrame:
    first = keys.group_by(by).agg(pl.col("document").min().alias("leader"), pl.len().alias("number"))
    joined = keys.join(first.filter(pl.col("number") > 1), on=by)
    return joined.filter(pl.col("document") != pl.col("leader")).select("leader", "document")


def main() -> None:
    started = time.process_time()
    table = pl.scan_parquet(sys.argv[1])
    if sys.argv[2] == "bands":
        bands = (table.filter(pl.col("band") == band).select("key", "document") for band in range(14))
        found = pl.concat([edges(keys, ["key"]).collect(engine="streaming") for keys in bands]).unique()
    else:
        found = edges(table, ["band", "key"]).unique().collect(engine="streaming")
    seconds = time.process_time() - started
    print(json.dumps({"cpu_seconds": seconds, "start_seconds": started, "edges": found.height}))


main()
