"""Parquet with a checksum on every page, for any reader of tables, and as a Hugging Face dataset.

A row is an item with its codes; of composed sequences, a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np

from ...compose import Sequence as IdSequence
from ...errors import JobError
from ..commit import write_aside
from ..items import Item, valid_text
from ..sequences import SequenceShard
from ..shard import Shard
from ..values import plain, to_json

__all__ = ["check_total", "index_hf", "keys_parquet", "meta_json", "write_hf", "write_parquet"]


def write_parquet(stem: Path, shard: Shard | SequenceShard) -> None:
    """Columns: key, modality, tokenizer (its id), codes [K][T], ids (with a vocabulary), labels (where the sink has
    documents), num_samples, scales, least_margin (where the job keeps margins), text, meta (JSON). Of sequences:
    input_ids, labels, position_ids, cu_seqlens, and, by document, documents (their keys) and offsets (where in it the
    sequence begins). The provenance lies in the schema's metadata under "anytok".
    """
    _write(stem, shard, "parquet", "ids")


def write_hf(stem: Path, shard: Shard | SequenceShard) -> None:
    """The same with `input_ids`, as trainers call them."""
    _write(stem, shard, "hf", "input_ids")


def keys_parquet(stem: Path) -> list[str]:
    """Keys of the rows, or of the documents that begin in them; every page is read, and its checksum compared."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(stem.with_suffix(".parquet"), page_checksum_verification=True) as table:
        if "documents" not in table.schema_arrow.names:
            return [key for batch in table.iter_batches() for key in batch.column("key").to_pylist()]
        pairs = [
            (key, offset)
            for batch in table.iter_batches()
            for key, offset in zip(*(batch.column(name).flatten().to_pylist() for name in ("documents", "offsets")),
                                   strict=True)
        ]  # fmt: skip
        return [key for key, offset in pairs if offset == 0]


def index_hf(folder: Path, stems: Sequence[Path]) -> None:
    """A card that tells `datasets.load_dataset(folder)` where the rows are."""
    head = "configs:\n- config_name: default\n  data_files: data/*.parquet\n"
    write_aside(folder, "README.md", [f"---\n{head}---\nMedia as tokens, made with anytok.\n".encode()])


def _write(stem: Path, shard: Shard | SequenceShard, sink: str, ids_name: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = _columns_of_items(shard, sink, ids_name) if isinstance(shard, Shard) else _columns_of_sequences(shard)
    table = pa.table(columns).replace_schema_metadata({"anytok": shard.provenance})
    pq.write_table(table, stem.with_suffix(".parquet"), compression="zstd", write_page_checksum=True)


def _columns_of_sequences(shard: SequenceShard) -> dict[str, Any]:
    import pyarrow as pa

    names = ("input_ids", "labels", "position_ids", "cu_seqlens")
    columns = {name: _lists([getattr(one, name) for one in shard.sequences], np.dtype(np.int32)) for name in names}
    keys = [[document.key for document in one.documents] for one in shard.sequences]
    columns["documents"] = pa.array(keys, pa.list_(pa.string()))
    offsets = [[document.offset for document in one.documents] for one in shard.sequences]
    return {**columns, "offsets": pa.array(offsets, pa.list_(pa.int32()))}


def _columns_of_items(shard: Shard, sink: str, ids_name: str) -> dict[str, Any]:
    import pyarrow as pa

    items, codes = [row.item for row in shard.rows], [row.codes for row in shard.rows]
    columns: dict[str, Any] = {
        "key": pa.array([item.key for item in items], pa.string()),
        "modality": pa.array([item.modality for item in items], pa.string()),
        "tokenizer": pa.array([one.spec.id for one in codes], pa.string()),
        "codes": _code_lists([row.values for row in shard.rows], shard.code_dtype),
    }
    if (ids := shard.ids(sink)) is not None:
        assert shard.vocabulary is not None
        columns[ids_name] = _lists(ids, shard.vocabulary.dtype)
    if documents := shard.documents(sink):
        columns["labels"] = _lists([IdSequence((one,)).labels for one in documents], np.dtype(np.int32))
    columns["num_samples"] = pa.array([one.num_samples for one in codes], pa.int64())
    columns["scales"] = pa.array([one.scales for one in codes], pa.list_(pa.float32()))
    if any(row.least_margin is not None for row in shard.rows):
        columns["least_margin"] = pa.array([row.least_margin for row in shard.rows], pa.float32())
    columns["text"] = pa.array([item.text and valid_text(item.text) for item in items], pa.string())
    columns["meta"] = pa.array([meta_json(item) for item in items], pa.string())
    return columns


def meta_json(item: Item) -> str:
    """An item's metadata as JSON (RFC 8259): see `plain` for what that does not know."""
    return valid_text(to_json(plain(item.meta)))


def _lists(arrays: list[np.ndarray], dtype: np.dtype) -> Any:
    """Arrays [N] of any lengths → one list column."""
    import pyarrow as pa

    return pa.ListArray.from_arrays(
        _ends(arrays), pa.array(np.concatenate([np.empty(0, dtype), *arrays]).astype(dtype))
    )


def _code_lists(values: list[np.ndarray], dtype: np.dtype) -> Any:
    """Codes [K, T] → one column of lists of lists."""
    import pyarrow as pa

    layers = _lists([layer for one in values for layer in one], dtype)
    return pa.ListArray.from_arrays(_ends(values), layers)


def _ends(lists: Sequence[Sized]) -> np.ndarray:
    """Where each list ends, int32 [N + 1], as parquet's lists have it. Raises JobError on more than they can hold."""
    ends = np.cumsum([0, *map(len, lists)])
    check_total(int(ends[-1]), np.int32, "numbers")
    return ends.astype(np.int32)


def check_total(total: int, dtype: type, what: str) -> None:
    """Raise JobError where a file's offsets of this type cannot reach so far: they would begin anew in silence."""
    if total > np.iinfo(dtype).max:
        raise JobError(
            f"a shard with {total} {what}: its format holds {np.iinfo(dtype).max}; "
            f"set a smaller shard_items, with a new output"
        )
