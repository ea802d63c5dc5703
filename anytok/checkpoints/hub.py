"""Whether the Hugging Face hub can be reached, told in seconds: its own client tries again for half a minute."""

from __future__ import annotations

import threading
from functools import cache

from ..errors import first_line

__all__ = ["why_offline"]

SECONDS = 5.0  # for an answer; a hub that is there takes some tenths


@cache
def why_offline() -> str:
    """Why the hub cannot be reached, "" if it can: asked once a process, by the hub's own client, so with its proxies,
    certificates and endpoint."""
    said = [f"no answer within {SECONDS:g} s"]

    def ask() -> None:
        from huggingface_hub import constants, get_session

        try:
            get_session().head(constants.ENDPOINT, timeout=SECONDS)
            said.append("")
        except Exception as error:  # each version of the client has its own
            said.append(first_line(error))

    # In a thread, since no timeout bounds the search for a name's address.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return said[-1]
