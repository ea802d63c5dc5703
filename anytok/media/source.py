"""Where media come from: a path, bytes or a file object → a seekable binary stream of bounded size."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from ..errors import MediaError

__all__ = ["joined", "key_of", "naming", "open_source", "plain_array", "window"]


def key_of(source: Any) -> str | None:
    """The name by which errors call this item: its path, where it has one."""
    return os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else None


@contextmanager
def naming(key: str | None) -> Iterator[None]:
    """Give `key` to a MediaError that passes through without one."""
    try:
        yield
    except MediaError as error:
        if key is None or error.key is not None:
            raise
        raise error.with_key(key) from error.__cause__


def window(stream: IO[bytes], start: int, end: int) -> IO[bytes]:
    """The bytes [start, end) of a binary stream, as a stream of their own."""
    return io.BufferedReader(_Window(stream, start, end))


def joined(stream: IO[bytes], runs: Sequence[tuple[int, int]]) -> IO[bytes]:
    """The bytes [start, end) of each of the runs, one after another."""
    if len(runs) == 1:
        return window(stream, *runs[0])
    pieces = io.BytesIO()
    for start, end in runs:
        stream.seek(start)
        pieces.write(stream.read(end - start))
    return pieces


class _Window(io.RawIOBase):
    """Seeking in front of its start, as libsndfile does on broken files, leaves it where it stands."""

    def __init__(self, stream: IO[bytes], start: int, end: int) -> None:
        self._stream, self._start, self._size, self._position = stream, start, max(0, end - start), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if place >= 0:
            self._position = place
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self._size - self._position)]
        self._stream.seek(self._start + self._position)
        data = self._stream.read(len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


@contextmanager
def open_source(source: Any, max_bytes: int, limit: str) -> Iterator[IO[bytes]]:
    """Open `source` for reading from its start, and close what was opened.

    A path must name a regular file, since reading a pipe or a device may never end. File objects are read
    from where they stand. `limit` is the name of `max_bytes` in the message. Raises MediaError (`missing`,
    `not_a_file`, `unreadable`, `wrong_type`, `too_large`, `empty`).
    """
    if isinstance(source, (str, os.PathLike)):
        _check_size(_size_of_file(source), max_bytes, limit)
        try:
            stream: IO[bytes] = open(source, "rb")  # noqa: SIM115 - closed by the with below
        except OSError as error:
            raise MediaError("unreadable", f"cannot open the file ({error.strerror})") from error
        with stream:
            yield stream
    else:
        data = _read_all(source, max_bytes)
        _check_size(len(data), max_bytes, limit)
        yield io.BytesIO(data)


def _size_of_file(path: str | os.PathLike[str]) -> int:
    try:
        found = os.stat(path)
    except FileNotFoundError as error:
        raise MediaError("missing", "there is no such file") from error
    except (OSError, ValueError) as error:  # a loop of links, a closed folder, a zero byte in the name
        raise MediaError("unreadable", f"cannot reach the file ({error})") from error
    if stat.S_ISDIR(found.st_mode):
        raise MediaError("not_a_file", "this is a folder: pass the files in it")
    if not stat.S_ISREG(found.st_mode):
        raise MediaError("not_a_file", "this is a pipe or a device: read it yourself and pass the bytes")
    return found.st_size


def _check_size(num_bytes: int, max_bytes: int, limit: str) -> None:
    if num_bytes == 0:
        raise MediaError("empty", "0 bytes: there is nothing in it")
    if num_bytes > max_bytes:
        raise MediaError("too_large", f"more than {max_bytes} bytes are not read (limit {limit})")


def _read_all(source: Any, max_bytes: int) -> bytes:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if not hasattr(source, "read"):
        raise MediaError(
            "wrong_type",
            f"got {type(source).__name__}: expected a path, a file object opened with 'rb', or bytes",
        )
    pieces, size = [], 0
    while size <= max_bytes:  # pipes and sockets give what has come, and there may be more
        try:
            piece = source.read(max_bytes + 1 - size)
        except Exception as error:  # file objects are anyone's code
            raise MediaError("unreadable", f"the file object cannot be read ({error})") from error
        if not isinstance(piece, bytes):
            raise MediaError("wrong_type", f"the file object gives {type(piece).__name__}: open it with 'rb'")
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def plain_array(source: Any) -> np.ndarray:
    """An array of anything that numpy takes, and of tensors on any device, with gradients, or in bfloat16."""
    if hasattr(source, "requires_grad"):
        source = source.detach().cpu()
        if source.is_floating_point():
            source = source.float()
    return np.asarray(source)
