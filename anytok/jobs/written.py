"""What a job has written, item by item: back from a dataset to codes, whatever its outputs are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import did_you_mean, several
from ..errors import JobError, UsageError
from ..spec import Codes, Spec
from .audit import as_run, job_of
from .config import JobConfig
from .reread import needs_vocabulary, read_rows, written_items
from .status import open_failures, open_job
from .vocabulary import load_job_vocabulary

if TYPE_CHECKING:
    from ..vocab import Vocabulary

__all__ = ["JobCodes"]

MANY = 10_000  # keys, of which none is looked through for one that is spelled alike


class JobCodes:
    """Key and Codes of each item that the job in `output` has written so far, in the order of the plan; with `keys`, of
    these alone.

    Where no output keeps codes (megatron, litdata, anygpt), they are read from ids: in the layers that the vocabulary
    writes. Raises UsageError where there is no job, or one that composes, and on keys that it has not written; while
    it is iterated, JobError where a shard is damaged, or the vocabulary is another one.
    """

    def __init__(self, output: str | Path, keys: Iterable[str] = ()) -> None:
        self._output, wanted = str(output), frozenset(several(keys, "JobCodes(output, [key])"))
        self._plan, self._store = open_job(output)
        config, folder = job_of(self._store)
        if config.compose:
            raise UsageError(
                f"{output} holds sequences that were composed: give the output of the job that has made the codes, "
                f"{', '.join(source.path for source in config.sources)}"
            )
        self.config: JobConfig = as_run(config, folder, "")  # its files where they were when it was run
        self._chosen: list[tuple[int, list[tuple[int, str, str]]]] = []  # of each shard: row, key and modality
        for shard in sorted(self._plan.live & self._store.committed()):
            items = enumerate(written_items(self._plan, self._store, shard))
            if chosen := [(row, one.key, one.modality) for row, one in items if not wanted or one.key in wanted]:
                self._chosen.append((shard, chosen))
        if missing := wanted.difference(key for key, _ in self.heads):
            raise self._unknown(min(missing))
        if not self._chosen:
            raise UsageError(f"{output}: no item is written yet; `anytok status` says how far the job is")

    @property
    def heads(self) -> Iterator[tuple[str, Spec]]:
        """Key and Spec of each item, without reading codes."""
        for _, chosen in self._chosen:
            yield from ((key, self._plan.specs[modality]) for _, key, modality in chosen)

    @property
    def is_whole(self) -> bool:
        """Whether all shards of the job are done."""
        return self._plan.live <= self._store.committed()

    def __len__(self) -> int:
        return sum(len(chosen) for _, chosen in self._chosen)

    def __iter__(self) -> Iterator[tuple[str, Codes]]:
        vocabulary = self._vocabulary() if needs_vocabulary(self.config.sinks) else None
        for shard, chosen in self._chosen:
            rows = read_rows(self._plan, self._store, self.config.sinks, vocabulary, shard)
            yield from ((key, rows[row].codes) for row, key, _ in chosen)

    def _vocabulary(self) -> Vocabulary | None:
        vocabulary = load_job_vocabulary(self.config)
        planned = self._plan.record["vocabulary"]
        if vocabulary is None or vocabulary.hash != planned:
            raise JobError(
                f"the vocabulary {self.config.vocabulary!r} is not the one that the ids were written with "
                f"(sha256 {planned[:12]}…): put that one back"
            )
        return vocabulary

    def __repr__(self) -> str:
        return f"<JobCodes {self._output}: {len(self)} items>"

    def _unknown(self, key: str) -> UsageError:
        """What to say of a key that has no codes."""
        output = self._output
        for failure in open_failures(self._plan, self._store):
            if failure["key"] == key:
                return UsageError(f"{output}: {key} could not be encoded: {failure['message']} [{failure['kind']}]")
        if self._removed(key):
            return UsageError(f"{output}: {key} is no longer in the sources: the job was extended without it")
        known = [key for key, _ in JobCodes(output).heads] if self._plan.num_items <= MANY else []
        unfinished = "" if self.is_whole else ", or it is not done yet"
        return UsageError(f"{output}: no item has the key {key!r}{unfinished}{did_you_mean(key, known)}")

    def _removed(self, key: str) -> bool:
        return any(key in self._plan.removed_in(one) for one in self._plan.rounds)
