"""Parquet files of anybody, by path or URL, for pyarrow to read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .urls import local_path, open_parts

__all__ = ["numpy_of", "open_parquet"]


@contextmanager
def open_parquet(path: str, *, checksums: bool = False) -> Iterator[Any]:
    """A pyarrow ParquetFile; with `checksums`, pages that have one are held to it. Raises as `open_parts` and pyarrow.

    Local files are read by pyarrow itself. Through Python's files its threads own Python objects, and may free the last
    of them after `read` has returned: in an interpreter that is about to exit, that aborts the process. Files of other
    file systems can be read in no other way.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    local = local_path(path)
    with (
        open_parts(path) as stream,
        stream if local is None else pa.OSFile(local) as source,
        pq.ParquetFile(source, page_checksum_verification=checksums) as file,
    ):
        yield file


def numpy_of(array: Any) -> np.ndarray:
    """The values of a pyarrow Array of numbers without nulls, not copied. Not by its `to_numpy`, which imports pandas
    where it is installed (test_compose_jobs.py keeps it so)."""
    return np.from_dlpack(array)
