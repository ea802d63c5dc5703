"""Stored codes as `anytok run` has written them, composed when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from ..compose import Composer, Document, Form, StoredItem, pack
from ..compose import Sequence as Composed
from ..errors import AnytokError, JobError
from ..jobs.items import Item
from ..jobs.sources.codes import CodesSource
from ..jobs.stored import KEPT, StoredTable, StoredTar, open_stored, stored_specs
from ..jobs.vocabulary import text_identity
from ..vocab import Vocabulary
from .sharded import Row, ShardedDataset, check_unchanged, named, open_source, to_row

__all__ = ["CodesDataset"]


class CodesDataset(ShardedDataset):
    """Documents of stored codes; a map-style dataset. A row is a document, as `anytok compose` makes it with a length
    of 0: neither cut nor packed. EpochDataset packs.

    `path` is the output of `anytok run` with the sink parquet, webdataset or hf, or a pattern of its files; items of
    one document must stand together. `vocabulary` has the text tokenizer where `form` has words, and the runs as they
    are to be written (`Vocabulary.with_text`, `with_runs`). For `columns` and what a row is, see ShardedDataset.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        vocabulary: Vocabulary,
        form: Form = Form(),  # noqa: B008 - frozen
        *,
        columns: Sequence[str] = ("input_ids", "labels", "position_ids"),
    ) -> None:
        if form.kind != "item":
            vocabulary.text_ids([])  # raises UsageError without a text tokenizer
        self.composer = Composer(vocabulary, form)
        self._source = open_source(os.fspath(path))
        self._source.document = form.document
        shards = self._source.shards
        self._specs = set(stored_specs(shards[0].path))
        super().__init__(shards, [len(self._source.items_of(number)) for number in range(len(shards))], columns)

    @property
    def identity(self) -> Mapping[str, str]:
        vocabulary = self.composer.vocabulary
        text = text_identity(vocabulary)
        return {**super().identity, "vocabulary": vocabulary.hash, "text": text, "form": repr(self.composer.form)}

    def __getitems__(self, numbers: Sequence[int]) -> list[Row]:
        return [self._row(Composed((document,))) for document in self.documents(numbers)]

    def documents(self, numbers: Sequence[int]) -> list[Document]:
        """Documents by their numbers. Raises IndexError, and JobError as `__getitems__` does."""
        return [document for _, document in self._documents(numbers)]

    def packed(self, numbers: Sequence[int], length: int, window: int) -> list[Row]:
        """The sequences of at most `length` ids that these documents make, in this order; see `anytok.compose.pack`."""
        return [self._row(one) for one in pack(self._pieces(numbers, length), length, window)]

    def _pieces(self, numbers: Sequence[int], length: int) -> Iterator[Document]:
        for item, document in self._documents(numbers):
            with named(item.path, _place(item)):
                pieces = self.composer.cut(document, length)
            yield from pieces

    def _documents(self, numbers: Sequence[int]) -> list[tuple[Item, Document]]:
        places = [self.locate(number) for number in numbers]
        items = [_items(self._source, shard)[place] for shard, place in places]
        groups = [self._read(item) for item in items]
        found = self.composer.compose_batch(groups, [item.key for item in items])
        pairs = []
        for item, document in zip(items, found, strict=True):
            with named(item.path, _place(item)):
                if isinstance(document, AnytokError):
                    raise document
            pairs.append((item, document))
        return pairs

    def _read(self, item: Item) -> list[StoredItem]:
        """The stored items of a document."""
        kind, rows, *more = item.place
        if kind == "unusable":
            raise JobError(f"{item.path}, {item.key}: {more[0]}")
        found: list[StoredItem] = []
        for path, version, numbers in ((item.path, item.stamp, rows), *more):
            for number in numbers:
                with named(path, number):
                    found += self._open(path, version).items([number])
        return found

    def _open(self, path: str, version: str) -> StoredTable | StoredTar:
        shard = _open(path, version)
        if strange := sorted(set(shard.specs) - self._specs):
            raise JobError(f"codes of {strange[0]}, where the first shard has {', '.join(sorted(self._specs))}")
        return shard

    def _row(self, sequence: Composed) -> Row:
        return to_row({name: getattr(sequence, name) for name in self.columns})


def _place(item: Item) -> int:
    """The row in its file of a document's first item."""
    return int(item.place[1][0])


@lru_cache(maxsize=KEPT)
def _items(source: CodesSource, number: int) -> list[Item]:
    """The documents that begin in a shard."""
    return source.items_of(number)


@lru_cache(maxsize=KEPT)
def _open(path: str, version: str) -> StoredTable | StoredTar:
    check_unchanged(path, version)
    return open_stored(path, version)
