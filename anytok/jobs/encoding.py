"""One kind of work: media → codes, through the job's tokenizers; with texts → documents, where a sink has some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compose import Composer, StoredItem
from ..errors import AnytokError, UsageError
from ..media import Audio
from ..registry import load_tokenizer
from ..spec import Codes
from .batches import Encoder, Window, num_frames
from .config import JobConfig
from .failures import Failure
from .items import Item, valid_text
from .reading import Readers, Reading
from .shard import Row, Shard
from .vocabulary import load_job_vocabulary
from .work import Results, Watch

if TYPE_CHECKING:
    from ..vocab import Vocabulary

__all__ = ["Encoding"]

Batch = list[tuple[int, Any]]  # (index, medium)


class Encoding:
    """Holds the tokenizers, and the processes that read media for them."""

    def __init__(self, config: JobConfig, number: int) -> None:
        self.config = config
        self.encoders = {modality: _load(config, modality, number) for modality in config.tokenizers}
        self.specs = {modality: encoder.tokenizer.spec for modality, encoder in self.encoders.items()}
        self.vocabulary = load_job_vocabulary(config, map(_probe, self.encoders.values()))
        self._composers = _composers(config, self.vocabulary)
        self.readers = Readers(self.specs, config.run.readers, config.run.item_seconds)

    def begin(self, wanted: Sequence[tuple[int, Item]]) -> Reading:
        return self.readers.start(wanted)

    def results(
        self, begun: Reading, items: Sequence[Item], suspects: frozenset[int], watch: Watch
    ) -> Iterator[Results]:
        windows = {modality: Window(spec, self.config.run.batch_items) for modality, spec in self.specs.items()}
        facts: dict[int, tuple[tuple[str, ...], int]] = {}
        for index, prepared in begun:
            if isinstance(prepared, Failure):
                yield {index: prepared}
                continue
            modality, facts[index] = items[index].modality, (prepared.warnings, prepared.content)
            if index in suspects:
                yield self._encode(items, modality, [(index, prepared.medium)], facts, watch)
                continue
            window = windows[modality]
            window.add(index, prepared.medium)
            if window.is_full(self.encoders[modality].max_frames):
                for batch in window.take(self.encoders[modality].max_frames):
                    yield self._encode(items, modality, batch, facts, watch)
        for modality, window in windows.items():
            for batch in window.take(self.encoders[modality].max_frames, last=True):
                yield self._encode(items, modality, batch, facts, watch)

    def _encode(
        self, items: Sequence[Item], modality: str, batch: Batch, facts: Mapping[int, tuple[Any, ...]], watch: Watch
    ) -> Results:
        frames = sum(num_frames(medium, self.specs[modality]) for _, medium in batch)
        with watch([index for index, _ in batch], frames / self.config.run.batch_frames):
            encoded = self.encoders[modality].encode([medium for _, medium in batch])
        return self.completed({
            index: codes if isinstance(codes, Failure) else Row(items[index], codes, *facts[index])
            for (index, _), codes in zip(batch, encoded, strict=True)
        })  # fmt: skip

    def completed(self, made: dict[int, Row | Failure]) -> Results:
        """The same rows with the documents of each sink; Failures where an item makes none."""
        for kind, composer in self._composers.items():
            rows = {index: row for index, row in made.items() if isinstance(row, Row)}
            items = [[_as_stored(row)] for row in rows.values()]
            documents = composer.compose_batch(items, [row.item.key for row in rows.values()])
            for (index, row), document in zip(rows.items(), documents, strict=True):
                if isinstance(document, AnytokError):
                    made[index] = Failure.in_composing(document)
                else:
                    row.documents[kind] = document
        return made

    def shard(self, number: int, rows: list[Row], plan_hash: str) -> Shard:
        return Shard(number, rows, self.specs, plan_hash, self.vocabulary)

    def close(self) -> None:
        self.readers.close()


def _load(config: JobConfig, modality: str, number: int) -> Encoder:
    one = config.tokenizers[modality]
    device = _device(number) if one.device == "cuda" else one.device
    tokenizer = load_tokenizer(
        one.name, engine=one.engine, checkpoint=one.checkpoint, device=device, dtype=one.dtype, **one.options
    )
    if tokenizer.spec.modality != modality:
        raise UsageError(f"[tokenizers.{modality}]: {one.name} is for {tokenizer.spec.modality}")
    if config.run.cache:
        from ..cache import cached

        tokenizer = cached(tokenizer, config.run.cache)
    if config.margins and "margins" not in tokenizer.options("encode"):
        what = "a cache keeps" if config.run.cache else f"{one.name} ({one.engine}) gives"
        raise UsageError(f"[tokenizers.{modality}]: {what} no margins: leave out one or the other")
    return Encoder(tokenizer, config.run.batch_frames, config.margins)


def _composers(config: JobConfig, vocabulary: Vocabulary | None) -> dict[str, Composer]:
    """What makes the documents of a sink, by its kind."""
    if vocabulary is None:
        return {}
    return {sink.kind: Composer(vocabulary, sink.documents) for sink in config.sinks if sink.documents}


def _as_stored(row: Row) -> StoredItem:
    """A row as it is read again from a shard, so that ids are those of `anytok compose`."""
    text = row.item.text
    return StoredItem(row.item.key, row.codes, None if text is None else valid_text(text), row.item.meta)


def _device(number: int) -> str:
    """The GPU of the worker of this number, where several share a machine."""
    import torch

    return f"cuda:{number % max(1, torch.cuda.device_count())}"


def _probe(encoder: Encoder) -> Codes:
    """Codes such as this tokenizer's. Those of segments may carry loudness, which only it can say."""
    spec = encoder.tokenizer.spec
    if spec.segment_samples is None or spec.sample_rate is None:
        return Codes(np.zeros((spec.num_codebooks, spec.num_frames or 1), np.int64), spec)
    return encoder.tokenizer.encode(Audio(np.zeros((spec.channels or 1, 1), np.float32), spec.sample_rate))
