"""Parquet with a checksum on every page, for any reader of tables, and as a Hugging Face dataset.

A row is an item with its codes; of composed sequences, a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...compose import Sequence as IdSequence
from ..commit import write_aside
from ..items import Item, valid_text
from ..sequences import SequenceShard
from ..shard import Shard
from ..values import plain, to_json
from .columns import lists, numbers, strings

__all__ = ["index_hf", "keys_parquet", "meta_json", "write_hf", "write_parquet"]


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
    names, documents = ("input_ids", "labels", "position_ids", "cu_seqlens"), [one.documents for one in shard.sequences]
    columns = {name: _arrays([getattr(one, name) for one in shard.sequences], np.dtype(np.int32)) for name in names}
    columns["documents"] = lists(documents, strings([document.key for some in documents for document in some]))
    offsets = [document.offset for some in documents for document in some]
    return {**columns, "offsets": lists(documents, numbers(offsets, np.int32))}


def _columns_of_items(shard: Shard, sink: str, ids_name: str) -> dict[str, Any]:
    items, codes = [row.item for row in shard.rows], [row.codes for row in shard.rows]
    columns: dict[str, Any] = {
        "key": strings([item.key for item in items]),
        "modality": strings([item.modality for item in items]),
        "tokenizer": strings([one.spec.id for one in codes]),
        "codes": _grids([row.values for row in shard.rows], shard.code_dtype),
    }
    if (ids := shard.ids(sink)) is not None:
        assert shard.vocabulary is not None
        columns[ids_name] = _arrays(ids, shard.vocabulary.dtype)
    if documents := shard.documents(sink):
        columns["labels"] = _arrays([IdSequence((one,)).labels for one in documents], np.dtype(np.int32))
    columns["num_samples"] = numbers([one.num_samples for one in codes], np.int64)
    columns["scales"] = _arrays([one.scales for one in codes], np.dtype(np.float32))
    if any(row.least_margin is not None for row in shard.rows):
        columns["least_margin"] = numbers([row.least_margin for row in shard.rows], np.float32)
    columns["text"] = strings([item.text and valid_text(item.text) for item in items])
    columns["meta"] = strings([meta_json(item) for item in items])
    return columns


def meta_json(item: Item) -> str:
    """An item's metadata as JSON (RFC 8259): see `plain` for what that does not know."""
    return valid_text(to_json(plain(item.meta)))


def _arrays(arrays: Sequence[np.ndarray | None], dtype: np.dtype) -> Any:
    """Arrays [N] of any lengths → one column of lists; None is null."""
    given = [one for one in arrays if one is not None]
    return lists(arrays, numbers(np.concatenate([np.empty(0, dtype), *given]), dtype))


def _grids(values: list[np.ndarray], dtype: np.dtype) -> Any:
    """Codes [K, T] → one column of lists of lists."""
    return lists(values, _arrays([layer for one in values for layer in one], dtype))
