"""What every source is, and how it tells what is a medium of the job."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from ...errors import JobError, UsageError
from ...media import formats
from ..config import SourceConfig
from ..items import Input, Item
from ..urls import is_pattern, local_path

__all__ = ["Choice", "Source", "check_there", "named"]

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


class Source:
    """Media in a fixed order: `inputs` are the files that a plan depends on, `items` the media.

    `items` counts what else is there: `ignored`, what it passed over, by reason, and `sidecars`, the files whose text
    or metadata it took, by suffix. A subclass says in `settings` which of the fields that only some sources have it
    knows, and in `columns` which columns.
    """

    settings: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def __init__(self, config: SourceConfig, choice: Choice) -> None:
        self.config, self.choice = config, choice
        self.ignored: Counter[str] = Counter()
        self.sidecars: Counter[str] = Counter()
        for name in ("columns", "text_suffix", "split"):
            if getattr(config, name) and name not in self.settings:
                raise UsageError(f"source {config.path!r} of kind {config.kind!r} has no {name}: leave it out")
        if unknown := sorted(set(config.columns) - set(self.columns)):
            known = ", ".join(self.columns)
            raise UsageError(f"source {config.path!r} of kind {config.kind!r} has no column {unknown}; known: {known}")

    def inputs(self) -> Iterator[Input]:
        raise NotImplementedError

    def items(self) -> Iterator[Item]:
        raise NotImplementedError

    def begin(self) -> None:
        """Count anew."""
        self.ignored.clear()
        self.sidecars.clear()

    def pass_over(self, name: str, why: str = "") -> None:
        """Count a file that is no medium of this job, by its suffix."""
        suffix = os.path.splitext(name)[1].lower() or "no suffix"
        self.ignored[f"{suffix} ({why})" if why else suffix] += 1

    def take_texts(self, count: int) -> None:
        """Count files that are read for their texts."""
        if count:
            self.sidecars[self.config.text_suffix.lower()] += count

    def check_texts(self, num_media: int) -> None:
        """Raise JobError where the job names a suffix of texts that no medium has beside it."""
        if self.config.text_suffix and num_media and not self.sidecars[self.config.text_suffix.lower()]:
            there = ", ".join(f"{count} {suffix}" for suffix, count in self.ignored.items()) or "nothing else"
            raise JobError(
                f"source {self.config.path!r}: text_suffix = {self.config.text_suffix!r}, but none of its {num_media} "
                f"media has such a file beside it (there is {there}): mend the suffix, or leave it out"
            )


def check_there(path: str) -> None:
    """Raise UsageError where a local path names nothing."""
    local = local_path(path)
    if local is None or is_pattern(local) or os.path.lexists(local):
        return
    hint = ""
    if _HUB_NAME.fullmatch(path):
        hint = (
            f'. If it is a dataset of the Hugging Face hub: datasets.load_dataset("{path}", split="train")'
            '.save_to_disk("data"), and then data as a source of kind "hf"; or give the URL of its files, '
            f"hf://datasets/{path}/**/*.parquet"
        )
    raise UsageError(f"source {path!r}: there is no such file or folder{hint}")


class Choice:
    """Which modality a medium belongs to: as told, or by its suffix. `kinds` says of each modality of the job whether
    its media are of the kind "picture" or "sound"."""

    def __init__(self, told: str, kinds: Mapping[str, str]) -> None:
        self.told, self.wanted = told, tuple(kinds)
        self._modalities: dict[str | None, list[str]] = {}
        for modality, kind in kinds.items():
            self._modalities.setdefault(kind, []).append(modality)

    def by_suffix(self, suffix: str) -> str | None:
        """The modality of a file with this suffix; None for a file that is no medium of this job."""
        modalities = self._modalities.get(formats.kind_of(suffix.lower()), [])
        if self.told:
            return self.told if self.told in modalities else None
        if len(modalities) > 1:
            raise UsageError(f"{suffix} files may be {' or '.join(modalities)}: give the source a modality")
        return modalities[0] if modalities else None

    def by_name(self, name: str | None, suffix: str, where: str) -> str:
        """The modality that a manifest names, else the one told, else the one of the suffix."""
        modality = name or self.told or self.by_suffix(suffix) or ""
        if not modality and len(self.wanted) == 1:
            modality = self.wanted[0]
        if modality not in self.wanted:
            raise UsageError(f"{where}: modality {modality or 'unknown'}; this job has {', '.join(self.wanted)}")
        return modality


def named(columns: Collection[str], there: Collection[str], where: str) -> None:
    """Raise JobError where a job names columns that are not there."""
    if missing := [name for name in columns if name not in there]:
        raise JobError(
            f"{where}: no column {', '.join(map(repr, missing))}, which columns = {{…}} names; "
            f"there are {', '.join(map(repr, there)) or 'none'}"
        )
