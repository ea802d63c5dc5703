"""What lies in a tar file: the members of each archive in it, links led to what they stand for, and what is amiss.

`tarfile` passes over in silence what follows a damaged header, a file that is cut between two members, and further
archives behind the first (`cat a.tar b.tar`).
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from ..values import reason_of

__all__ = ["Member", "TarDamage", "members"]

BLOCK = 512
CHUNK = 2**20
MAX_LINKS = 40  # of one leading to the next


class TarDamage(ValueError):
    """A tar that cannot be read to its end; the message says where and why."""


class Member(NamedTuple):
    """`problem`, if not empty, is why its bytes cannot be had: it is no file, or one with holes."""

    name: str
    offset: int
    size: int
    problem: str = ""
    is_sparse: bool = False


def members(stream: IO[bytes], note: Callable[[str], None]) -> Iterator[Member]:
    """Every member that is no folder, in order. `note` is told what is odd, but no damage. Raises TarDamage."""
    known: dict[str, tarfile.TarInfo] | None = None
    for info in _headers(stream, note):
        if info.islnk() or info.issym():
            if known is None:
                known = {posixpath.normpath(one.name): one for one in _headers(stream, lambda _: None)}
            yield _linked(info, known)
        elif info.isreg():
            yield _file(info.name, info)
        elif not info.isdir():
            yield Member(info.name, 0, 0, "no file")


def _file(name: str, info: tarfile.TarInfo) -> Member:
    return Member(name, info.offset_data, info.size, is_sparse=info.issparse())


def _linked(info: tarfile.TarInfo, known: dict[str, tarfile.TarInfo]) -> Member:
    """The member that a hard link (by its whole name) or a symbolic one (from its folder) leads to."""
    target: tarfile.TarInfo | None = info
    for _ in range(MAX_LINKS):
        if target is None or not (target.islnk() or target.issym()):
            break
        folder = posixpath.dirname(target.name) if target.issym() else ""
        target = known.get(posixpath.normpath(posixpath.join(folder, target.linkname)))
    if target is None or not target.isreg():
        return Member(info.name, 0, 0, "a link to no file of this tar")
    return _file(info.name, target)


def _headers(stream: IO[bytes], note: Callable[[str], None]) -> Iterator[tarfile.TarInfo]:
    """The headers of all archives in the file."""
    start: int | None = 0
    while start is not None:
        stream.seek(start)
        try:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                last = start - 1
                while (info := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every header for ever
                    if info.size < 0 or not last < info.offset < tar.offset:
                        raise TarDamage(f"a header at byte {info.offset} leads backwards")
                    last = info.offset
                    yield info
                end = tar.offset
        except TarDamage:
            raise
        except Exception as error:  # besides its own errors, on mutated headers tarfile raises whatever happens
            raise TarDamage(reason_of(error)) from error
        start = _next_archive(stream, start, end, note)


def _next_archive(stream: IO[bytes], start: int, end: int, note: Callable[[str], None]) -> int | None:
    """Where another archive begins behind the one from `start` to `end`; None if there is none. Raises TarDamage where
    the one before is cut or damaged."""
    stream.seek(end)
    block = stream.read(BLOCK)
    if not block:
        note("a tar without its end mark: what followed is missing")
        return None
    if any(block):
        if 0 < start == end:
            note("bytes behind the end of a tar, which are no tar")
            return None
        what = "it is cut within the header" if len(block) < BLOCK else "the header is damaged"
        raise TarDamage(f"{what} at byte {end}")
    position = end + len(block)
    while chunk := stream.read(CHUNK):
        if any(chunk):
            filled = position + len(chunk) - len(chunk.lstrip(b"\0"))
            return filled // BLOCK * BLOCK
        position += len(chunk)
    return None
