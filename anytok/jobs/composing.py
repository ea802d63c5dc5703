"""One kind of work: stored codes → training sequences, without a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..compose import Composer, Document, StoredItem
from ..errors import AnytokError, CodesError, JobError
from ..spec import Spec
from ..vocab import Vocabulary
from .config import JobConfig
from .failures import Failure
from .items import Item, same_version
from .sequences import DocumentRow, SequenceShard
from .sources import open_sources
from .sources.codes import CodesSource
from .stored import StoredTable, StoredTar, open_stored, stored_specs
from .urls import open_url, version_of
from .vocabulary import load_job_vocabulary
from .work import Results, Watch

__all__ = ["Composing"]

BATCH = 256  # documents whose texts go through the text tokenizer together


class Composing:
    """Holds the vocabulary and the text tokenizer; `specs` go by their ids."""

    def __init__(self, config: JobConfig) -> None:
        assert config.compose is not None, "asked before"
        self.config = config.compose
        self.specs: dict[str, Spec] = {}
        for _, source in open_sources(config):
            assert isinstance(source, CodesSource), "checked when the job was read"
            self.specs |= stored_specs(source.shards[0].path)
        vocabulary = load_job_vocabulary(config)
        assert vocabulary is not None, "checked when the job was read"
        self.vocabulary: Vocabulary = vocabulary
        self._composer = Composer(vocabulary, self.config.documents)

    def begin(self, wanted: Sequence[tuple[int, Item]]) -> Sequence[tuple[int, Item]]:
        return wanted

    def results(
        self, begun: Sequence[tuple[int, Item]], items: Sequence[Item], suspects: frozenset[int], watch: Watch
    ) -> Iterator[Results]:
        together = [one for one in begun if one[0] not in suspects]
        batches = [[one] for one in begun if one[0] in suspects]
        batches += [together[start : start + BATCH] for start in range(0, len(together), BATCH)]
        for batch in batches:
            indexes = [index for index, _ in batch]
            with watch(indexes, 1.0):
                found = dict(zip(indexes, self._made([item for _, item in batch]), strict=True))
            yield found

    def _made(self, items: list[Item]) -> list[DocumentRow | Failure]:
        versions: dict[str, str] = {}  # of the files, as they are now
        found: list[Any] = [self._read(item, versions) for item in items]
        whole = [place for place, group in enumerate(found) if not isinstance(group, Failure)]
        documents = self._composer.compose_batch([found[n] for n in whole], [items[n].key for n in whole])
        for place, document in zip(whole, documents, strict=True):
            found[place] = self._row(items[place], document)
        return found

    def _row(self, item: Item, document: Document | AnytokError) -> DocumentRow | Failure:
        if isinstance(document, AnytokError):
            return Failure.in_composing(document)
        if not self.config.length:
            return DocumentRow(item, (document,))
        try:
            return DocumentRow(item, tuple(self._composer.cut(document, self.config.length)))
        except CodesError as error:
            return Failure("too_long", str(error))

    def _read(self, item: Item, versions: dict[str, str]) -> list[StoredItem] | Failure:
        """The stored items of a document."""
        kind, *rest = item.place
        if kind == "unusable":
            return Failure(*rest)
        rows, *more = rest
        found: list[StoredItem] = []
        try:
            for path, stamp, numbers in ((item.path, item.stamp, rows), *more):
                if path not in versions:
                    versions[path] = _version(path)
                if not same_version(stamp, versions[path]):
                    return Failure("changed", "the file was changed after the plan was made")
                found += self._shard(path, stamp).items(numbers)
        except JobError:
            raise
        except Exception as error:
            return Failure.in_reading(error)
        return found

    def _shard(self, path: str, stamp: str) -> StoredTable | StoredTar:
        shard = open_stored(path, stamp)
        if strange := sorted(set(shard.specs) - set(self.specs)):
            raise JobError(f"{path} holds codes of {strange[0]}: give each job's output a source of its own")
        return shard

    def completed(self, made: dict[int, Any]) -> Results:
        """As it is: sequences are not read back."""
        return made

    def shard(self, number: int, rows: list[DocumentRow], plan_hash: str) -> SequenceShard:
        return SequenceShard(number, rows, self.specs, plan_hash, self.vocabulary, self.config)

    def close(self) -> None:
        """Nothing is running."""


def _version(path: str) -> str:
    with open_url(path) as stream:
        return version_of(path, stream)
