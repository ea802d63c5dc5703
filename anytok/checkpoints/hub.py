"""Downloads by huggingface_hub's own functions; and whether a server can be reached, told in seconds: its own client
tries again for half a minute."""

from __future__ import annotations

import hashlib
import os
import threading
from functools import cache
from pathlib import Path

from ..atomic import sync
from ..errors import first_line

__all__ = ["UNFINISHED", "download", "why_offline"]

SECONDS = 5.0  # for an answer; a server that is there takes some tenths
UNFINISHED = ".unfinished"  # how the name ends of what is not all there


@cache
def why_offline(url: str = "") -> str:
    """Why the server of `url`, or else the Hugging Face hub, cannot be reached, "" if it can: asked once a process, by
    the hub's own client, so with its proxies, certificates and endpoint."""
    said = [f"no answer within {SECONDS:g} s"]

    def ask() -> None:
        from huggingface_hub import constants, get_session

        try:
            get_session().head(url or constants.ENDPOINT, timeout=SECONDS)
            said.append("")
        except Exception as error:  # each version of the client has its own
            said.append(first_line(error))

    # In a thread, since no timeout bounds the search for a name's address.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return said[-1]


def download(url: str, path: Path) -> None:
    """A file that lies on no hub, by the hub's own `http_get`, which goes on by itself where a connection is lost.

    Where a process is stopped, the next one goes on with what is there beside `path`. That has the server's version of
    the file (ETag and size) in its name, so no file is joined from two versions; where the server tells none, the file
    is fetched from its beginning. Raises whatever the client does; OSError where the size is not the one announced.
    """
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock

    facts = get_hf_file_metadata(url, token=False)  # of the hub's, which is not for other servers
    version = hashlib.sha256(f"{facts.etag} {facts.size}".encode()).hexdigest()[:16]
    unfinished = path.with_name(f"{path.name}.{version}{UNFINISHED}")
    lock = path.with_name(f"{path.name}.lock")
    with WeakFileLock(lock):
        if not path.exists():  # else another process has fetched it meanwhile
            with unfinished.open("ab") as stream:
                if facts.etag is None or facts.size is None or stream.tell() > facts.size:
                    stream.truncate(0)
                http_get(url, stream, resume_size=stream.seek(0, os.SEEK_END), expected_size=facts.size)
            sync(unfinished)
            unfinished.replace(path)
    for rest in (lock, *path.parent.glob(f"{path.name}.*{UNFINISHED}")):  # parts of earlier versions
        rest.unlink(missing_ok=True)
