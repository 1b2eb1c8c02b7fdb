"""What a server says of the files at a URL, before any is read: so that a changed one is noticed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from typing import Any

from diglot.read.files import listed

PATIENCE = 20  # seconds; a network that lets nothing through would be waited for by minutes
# Of what fsspec's filesystems know of a file, the first that there is: hashes of its content before dates.
KNOWN = (
    "lfs", "blob_id", "md5Hash", "Content-MD5", "Digest", "ETag", "etag", "Last-Modified", "LastModified", "updated", "mtime",
)  # fmt: skip


def state_of(url: str) -> str | None:
    """A hash of the names, sizes and ETags (checksums, dates: whatever the server gives) of the files at a URL.

    None where the server cannot be reached, or not soon.
    """
    found: list[str] = []

    def ask() -> None:
        with contextlib.suppress(Exception):  # what cannot be reached now is said where it is read
            import fsspec  # start-up: only for a URL

            filesystem, path = fsspec.core.url_to_fs(url)
            found.append(_hash(listed(filesystem, path, url)))

    # A thread of its own, which is left behind where it hangs: not all filesystems have a timeout that can be set.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return found[0] if found else None


def _hash(infos: dict[str, dict[str, Any]]) -> str:
    said = [
        [name, info.get("size"), next((info[key] for key in KNOWN if info.get(key)), None)]
        for name, info in sorted(infos.items())
    ]
    return hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()[:32]
