"""Arrow columns, made of their buffers.

Not by `pyarrow.array`, which imports pandas where it is installed, to ask whether it was given a Series: 0.1 to 0.3
seconds and 48 MB in each worker that writes tables (test_jobs_sinks.py keeps it so).

Source: Arrow's columnar format, "Physical Memory Layout".
Legend: n rows.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np

from ...errors import JobError

__all__ = ["check_total", "lists", "numbers", "strings"]


def numbers(values: Sequence[float | None] | np.ndarray, dtype: np.dtype | type) -> Any:
    """A pyarrow Array [n] of this dtype; None is null."""
    import pyarrow as pa

    valid = None if isinstance(values, np.ndarray) else _validity(values)
    filled = values if valid is None else [0 if one is None else one for one in values]
    values_n = np.ascontiguousarray(filled, dtype)
    kind = pa.from_numpy_dtype(values_n.dtype)
    return pa.Array.from_buffers(kind, len(values_n), [valid, pa.py_buffer(values_n)])


def strings(values: Sequence[str | None]) -> Any:
    """A pyarrow StringArray [n]; None is null. Raises JobError where they are 2 GiB or more."""
    import pyarrow as pa

    encoded = [b"" if one is None else one.encode() for one in values]
    buffers = [_validity(values), pa.py_buffer(_ends(encoded, "bytes of text")), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def lists(values: Sequence[Sized | None], children: Any) -> Any:
    """A pyarrow ListArray [n] of lists as long as `values`, whose elements, one list's after the other's, are the Array
    `children`; None is null. Raises JobError where they are 2^31 or more."""
    import pyarrow as pa

    ends = _ends([() if one is None else one for one in values], "numbers")
    buffers = [_validity(values), pa.py_buffer(ends)]
    return pa.Array.from_buffers(pa.list_(children.type), len(values), buffers, children=[children])


def _validity(values: Sequence[object]) -> Any:
    """One bit for each value that is not None; no buffer at all where none is."""
    import pyarrow as pa

    valid_n = np.array([one is not None for one in values], dtype=bool)
    return None if valid_n.all() else pa.py_buffer(np.packbits(valid_n, bitorder="little"))


def _ends(values: Sequence[Sized], what: str) -> np.ndarray:
    """Where each value ends, int32 [n + 1], the first of them 0."""
    ends = np.cumsum([0, *map(len, values)])
    check_total(int(ends[-1]), np.int32, what)
    return ends.astype(np.int32)


def check_total(total: int, dtype: type, what: str) -> None:
    """Raise JobError where a file's offsets of this type cannot reach so far: they would begin anew in silence."""
    if total > np.iinfo(dtype).max:
        raise JobError(
            f"a shard with {total} {what}: its format holds {np.iinfo(dtype).max}; "
            f"set a smaller shard_items, with a new output"
        )
