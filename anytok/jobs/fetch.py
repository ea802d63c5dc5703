"""An item → what `anytok.media.prepare` takes: its path, or its bytes out of a container. Runs in readers."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from ..errors import MediaError
from .items import Item
from .urls import is_url, open_url, size_and_stamp

__all__ = ["fetch"]

MAX_BYTES = 4 * 2**30  # of one medium that is read into memory


def fetch(item: Item) -> str | bytes:
    """The item's path (local files) or bytes. Raises MediaError: `changed` if the file is not the planned one."""
    if item.place:
        data = _BY_PLACE[item.place[0]](item)
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
            data = stream.read(MAX_BYTES + 1)
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # networks and their libraries raise anything
        raise MediaError("unreadable", f"cannot be fetched ({type(error).__name__}: {error})", item.key) from error
    if len(data) > MAX_BYTES:
        raise MediaError("too_large", f"more than {MAX_BYTES} bytes are not read", item.key)
    if item.num_bytes not in (None, len(data)):
        raise _changed(item)
    return data


def _changed(item: Item) -> MediaError:
    return MediaError("changed", "the file was changed after the plan was made", item.key)


def _from_tar(item: Item) -> bytes:
    _, offset, size = item.place
    if size > MAX_BYTES:
        raise MediaError("too_large", f"more than {MAX_BYTES} bytes are not read", item.key)
    stream = _opened(item.path)
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
    return _bytes_of(_dataset(item.path)[row][column], item)


def _bytes_of(cell: Any, item: Item) -> bytes | None:
    """A cell is bytes, or Hugging Face's {bytes, path}; a path is followed where there are no bytes."""
    if not isinstance(cell, dict):
        return cell
    if cell.get("bytes"):
        return cell["bytes"]
    if not cell.get("path"):
        return None
    path = os.path.join(os.path.dirname(item.path), cell["path"])
    with open(path, "rb") as stream:
        return stream.read(MAX_BYTES)


@lru_cache(maxsize=4)
def _opened(path: str) -> Any:
    return open_url(path)


# One row group at a time: a shard's items lie side by side, and memory stays that of one group.
@lru_cache(maxsize=1)
def _column(path: str, group: int, column: str) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(_opened(path)) as table:
        return table.read_row_group(group, columns=[column]).column(column)


@lru_cache(maxsize=4)
def _dataset(path: str) -> Any:
    from .containers import open_dataset

    return open_dataset(path)


_BY_PLACE = {"tar": _from_tar, "sparse": _from_sparse, "parquet": _from_parquet, "hf": _from_dataset}
