"""Makes report.png, the picture in the README, of a run's report, with a headless Chromium.

    python docs/make_screenshot.py runs/quickstart/report/report.html

Nothing needs the picture but the README: where there is no Chromium, the one that is there stays.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = "1100,1480"  # the first screen: title, finding, a sample, the command to chat, and the table
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=8000"]


def main(page: Path, picture: Path) -> None:
    """Take the picture of a page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"no {' or '.join(BROWSERS)} on this machine: {picture} stays as it is")
    if not page.is_file():
        sys.exit(f"{page}: no such report; `diglot run recipes/quickstart.yaml` makes one")
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", f"--window-size={SIZE}", f"--screenshot={picture.resolve()}"]  # fmt: skip
        subprocess.run([*command, page.resolve().as_uri()], check=True, capture_output=True, timeout=120)
    print(f"{picture}: {picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    given = sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart/report/report.html"
    main(Path(given), Path(__file__).with_name("report.png"))
