"""An item → what `anytok.media.prepare` takes: its path, or its bytes out of a container. Runs in readers."""

from __future__ import annotations

import hashlib
import os
import stat
from functools import lru_cache
from typing import IO, Any

from ..errors import MediaError
from .failures import Failure
from .items import Item, same_version
from .sources.dataset import dataset_version, open_dataset
from .urls import is_url, local_path, open_url, size_and_stamp, version_of
from .values import reason_of

__all__ = ["close_containers", "content_hash", "fetch"]

MAX_BYTES = 4 * 2**30  # of one medium that is read into memory


def fetch(item: Item) -> str | bytes:
    """The item's path (local files) or bytes. Raises MediaError: `changed` if the file is not the planned one."""
    try:
        return _fetched(item)
    except MediaError:
        raise
    except Exception as error:  # libraries raise many classes on damaged containers
        failure = Failure.in_reading(error)
        raise MediaError(failure.kind, failure.message, item.key) from error


def content_hash(item: Item, fetched: str | bytes) -> int:
    """64 bits of SHA-256 over the bytes of a medium, by which it is known again wherever and whenever it was written;
    0 where the file is no longer the one that was fetched, or no regular one."""
    if isinstance(fetched, bytes):
        return _first_bits(hashlib.sha256(fetched))
    try:
        with open(fetched, "rb", opener=_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return 0
            found = _first_bits(hashlib.file_digest(stream, "sha256"))
    except OSError:  # it has just gone
        return 0
    return found if size_and_stamp(fetched) == (item.num_bytes, item.stamp) else 0


def _first_bits(digest: Any) -> int:
    return int.from_bytes(digest.digest()[:8], "big") or 1  # 0 means that it is not known


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # of a pipe without a writer, open would not return


def _fetched(item: Item) -> str | bytes:
    if item.place and item.place[0] == "unusable":
        _, kind, reason = item.place
        raise MediaError(kind, reason, item.key)
    if item.place:
        data = _from_container(item)
        if not data:
            raise MediaError("empty", "there is nothing at the item's place", item.key)
        return data
    if is_url(item.path):
        return _read_url(item)
    num_bytes, stamp = size_and_stamp(item.path) if item.stamp else (None, "")
    if stamp and (num_bytes, stamp) != (item.num_bytes, item.stamp):
        raise _changed(item)
    return item.path


def _read_url(item: Item) -> bytes:
    try:
        with open_url(item.path) as stream:
            data = read_whole(stream, MAX_BYTES + 1)
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # networks and their libraries raise anything
        raise MediaError("unreadable", f"cannot be fetched ({reason_of(error)})", item.key) from error
    if len(data) > MAX_BYTES:
        raise MediaError("too_large", f"more than {MAX_BYTES} bytes are not read", item.key)
    if item.num_bytes not in (None, len(data)):
        raise _changed(item)
    return data


def read_whole(stream: IO[bytes], most: int) -> bytes:
    """All that is left, `most` bytes of it: a stream of a web server that states no length gives what has come yet."""
    pieces, size = [], 0
    while size < most and (piece := stream.read(most - size)):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _changed(item: Item) -> MediaError:
    return MediaError("changed", "the file was changed after the plan was made", item.key)


def _from_container(item: Item) -> bytes | None:
    """What lies at the item's place, if the container is still the planned one after it was read."""
    try:
        return _BY_PLACE[item.place[0]](item)
    finally:  # in a container that was changed, reading may fail in any way
        if item.stamp and not same_version(item.stamp, _version(item)):
            raise _changed(item)


def _version(item: Item) -> str:
    """A URL's is the one that was opened: to ask again for each item would take longer than to read it."""
    if item.place[0] == "hf":
        return dataset_version(item.path)
    return _opened(item.path)[1] if local_path(item.path) is None else version_of(item.path, _opened(item.path)[0])


def _from_tar(item: Item) -> bytes:
    _, offset, size = item.place
    if size > MAX_BYTES:
        raise MediaError("too_large", f"more than {MAX_BYTES} bytes are not read", item.key)
    stream, _ = _opened(item.path)
    stream.seek(offset)
    data = stream.read(size)
    if len(data) < size:
        raise MediaError("truncated", f"{len(data)} of {size} bytes are in the tar", item.key)
    return data


def _from_sparse(item: Item) -> bytes:
    raise MediaError("sparse", "it is stored with holes: make the tar anew, without --sparse (-S)", item.key)


def _from_parquet(item: Item) -> bytes | None:
    _, group, row, column = item.place
    return _bytes_of(_column(item.path, group, column)[row].as_py(), item)


def _from_dataset(item: Item) -> bytes | None:
    _, row, column = item.place
    return _bytes_of(_dataset(item.path, _version(item)).column(column)[row].as_py(), item)


def _bytes_of(cell: Any, item: Item) -> bytes | None:
    """A cell is bytes, or Hugging Face's {bytes, path}; a path is followed where there are no bytes."""
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if isinstance(cell, dict) and not data and cell.get("path"):
        path = cell["path"] if is_url(cell["path"]) else os.path.join(os.path.dirname(item.path), cell["path"])
        with open_url(path) as stream:
            return read_whole(stream, MAX_BYTES)
    if data is not None and not isinstance(data, bytes):  # a text would be taken for a path
        raise MediaError("wrong_type", f"a {type(data).__name__} where bytes are expected", item.key)
    return data


@lru_cache(maxsize=4)
def _opened(path: str) -> tuple[Any, str]:
    """The open container, and its version when it was opened."""
    stream = open_url(path)
    return stream, version_of(path, stream)


# One row group at a time: a shard's items lie side by side, and memory stays that of one group.
@lru_cache(maxsize=1)
def _column(path: str, group: int, column: str) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(_opened(path)[0]) as table:
        return table.read_row_group(group, columns=[column]).column(column)


@lru_cache(maxsize=4)
def _dataset(path: str, version: str) -> Any:
    """Opened anew where it was changed: `version` tells them apart."""
    return open_dataset(path)


def close_containers() -> None:
    """Close what is kept open between items: a process that goes on finds containers as they are next time."""
    for cache in (_opened, _column, _dataset):
        cache.cache_clear()


_BY_PLACE = {"tar": _from_tar, "sparse": _from_sparse, "parquet": _from_parquet, "hf": _from_dataset}
