"""The documentation as a site: every page is in it, no link leads nowhere, and nothing is fetched from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOADED = re.compile(r"""<(?:script|img|link rel="(?:stylesheet|icon|preload)")[^>]*?(?:src|href)=["']?(https?:)?//""")


def test_the_site_is_built(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in (ROOT / "docs").glob("*.md"):
        made = tmp_path / ("index.html" if page.stem == "index" else f"{page.stem}/index.html")
        assert made.is_file(), page
        assert not LOADED.search(made.read_text("utf-8")), page
    assert 'href="../benchmarks' not in (tmp_path / "corpus/index.html").read_text("utf-8")


def test_links_out_of_the_pages_are_names_of_files() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from site_links import on_page_markdown
    finally:
        sys.path.pop(0)
    assert (
        on_page_markdown("see [this](../a/b.json), [`c.py`](../x/c.py)") == "see this (`a/b.json`), `c.py` (`x/c.py`)"
    )
    assert on_page_markdown("[`x/c.py`](../x/c.py) and [page](page.md#a)") == "`x/c.py` and [page](page.md#a)"
