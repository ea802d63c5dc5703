"""A job as data: what is read, what is made of it, what is written. Frozen, from TOML; unknown keys are errors."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ..arguments import did_you_mean
from ..catalogue import DECODE_ONLY
from ..errors import UsageError
from ..records import Checked, Line, Text, build, read_toml
from ..registry import find
from .documents import OF_SEQUENCES, check_documents, check_loss
from .settings import (
    AtLeastOne,
    ComposeConfig,
    RunConfig,
    RunsConfig,
    SinkConfig,
    SinkKind,
    SourceConfig,
    TokenizerConfig,
)
from .urls import is_url

__all__ = [
    "ComposeConfig", "JobConfig", "RunConfig", "RunsConfig", "SinkConfig", "SinkKind", "SourceConfig",
    "TokenizerConfig", "from_record", "load_config",
]  # fmt: skip

NEEDS_VOCABULARY = ("megatron", "litdata", "anygpt")


@dataclass(frozen=True)
class JobConfig(Checked):
    """A whole job: media through `tokenizers`, by modality, or stored codes through `compose`."""

    output: Text
    """The folder to write to."""
    sources: tuple[SourceConfig, ...]
    """What is read."""
    tokenizers: Mapping[str, TokenizerConfig] = field(default_factory=dict)
    """What makes codes of it, by modality."""
    sinks: tuple[SinkConfig, ...] = field(default_factory=lambda: (SinkConfig("parquet"),))
    """What is written; parquet, where left out."""
    vocabulary: Line = ""
    """A name of `anytok vocab`, or a file of `anytok vocab build`; `""` for codes without ids."""
    text_tokenizer: Line = ""
    """What makes the ids of texts, where sinks have documents: a folder, or a name on the hub. Not for a vocabulary
    whose text ids are bytes."""
    shard_items: AtLeastOne = 1000
    """Items of a shard of the output."""
    margins: bool = False
    """Keep each item's least margin (`Codes.margins`), by which `anytok verify --canonical` chooses."""
    run: RunConfig = field(default_factory=RunConfig)
    """How the work is carried out."""
    compose: ComposeConfig | None = None
    """For `anytok compose`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sources or not (self.tokenizers or self.compose) or not self.sinks:
            raise UsageError(
                "a job needs at least one of each: [[sources]], [tokenizers.<modality>] or [compose], [[sinks]]"
            )
        self._check_compose()
        for modality, tokenizer in self.tokenizers.items():
            published = find(tokenizer.name).published
            if published and published.modality != modality:
                raise UsageError(
                    f"[tokenizers.{modality}]: {tokenizer.name} is for {published.modality}: expected it under "
                    f"[tokenizers.{published.modality}]"
                )
        for source in self.sources:
            if source.modality and source.modality not in self.tokenizers and not self.compose:
                raise UsageError(f"source {source.path!r} holds {source.modality}: add [tokenizers.{source.modality}]")
            if source.kind == "folder" and os.path.realpath(source.path) == os.path.realpath(self.output):
                raise UsageError(f"the output {self.output!r} is also a source, and would spoil it: give it a folder")
        kinds = [sink.kind for sink in self.sinks]
        if len(set(kinds)) < len(kinds):
            raise UsageError(f"sinks {kinds}: each kind once")
        wanting = [kind for kind in kinds if kind in NEEDS_VOCABULARY]
        if wanting and not self.vocabulary:
            raise UsageError(f'sink {wanting[0]!r} writes ids: add vocabulary = "anygpt" (or your own) to the job')
        check_documents(self)

    def _check_compose(self) -> None:
        """Raise UsageError where settings for media and for stored codes are mixed."""
        for source in self.sources:
            if (source.kind == "codes") != (self.compose is not None):
                wanted = 'kind = "codes", the output of a job' if self.compose else "media, or a table [compose]"
                raise UsageError(f"source {source.path!r} is of kind {source.kind!r}: expected {wanted}")
            if source.weight != 1 and not self.compose:
                raise UsageError(f"source {source.path!r} has a weight of {source.weight}: only stored codes have one")
        if self.compose is None:
            return
        if self.margins:
            raise UsageError("[compose] takes stored codes, which have no margins: leave out margins")
        if self.tokenizers or not self.vocabulary:
            raise UsageError(
                "[compose] makes ids of stored codes: "
                + ("leave out [tokenizers]" if self.tokenizers else 'add vocabulary = "anygpt", or your own')
            )
        for kind in (sink.kind for sink in self.sinks):
            if kind not in OF_SEQUENCES:
                raise UsageError(f"sink {kind!r} does not hold sequences: expected {', '.join(OF_SEQUENCES)}")
            check_loss(kind, self.compose.documents)

    def moved(self, move: Callable[[str], str]) -> JobConfig:
        """The same job with the paths of its stored codes and its text tokenizer sent through `move`."""
        words = self.compose.text_tokenizer if self.compose else self.text_tokenizer
        words = move(words) if words and os.path.exists(move(words)) else words
        if self.compose is None:
            return dataclasses.replace(self, text_tokenizer=words)
        sources = tuple(dataclasses.replace(one, path=move(one.path)) for one in self.sources)
        compose = dataclasses.replace(self.compose, text_tokenizer=words)
        return dataclasses.replace(self, sources=sources, compose=compose)

    @classmethod
    def simple(
        cls, source: str, output: str, tokenizer: str, *, sinks: Iterable[str | SinkConfig] = (), **overrides: Any
    ) -> JobConfig:
        """A job of one source and one tokenizer, into `sinks` by name, or parquet: `anytok run SOURCE OUT`.

        `checkpoint`, `dtype`, `engine` and `options` go to the tokenizer, the rest is as in `override`.
        """
        named = {key: overrides.pop(key) for key in ("checkpoint", "dtype", "engine", "options") if key in overrides}
        modality = find(tokenizer).spec.modality
        tokenizers = {modality: TokenizerConfig(tokenizer, **named)}
        if found := tuple(one if isinstance(one, SinkConfig) else SinkConfig(cast(Any, one)) for one in sinks):
            overrides["sinks"] = found
        return cls(output, (SourceConfig(source, modality=modality),), tokenizers).override(**overrides)

    def __str__(self) -> str:
        sources, sinks = ", ".join(one.path for one in self.sources), ", ".join(one.kind for one in self.sinks)
        made = ", ".join(f"{modality} by {one.name}" for modality, one in self.tokenizers.items())
        ids = f", ids of {self.vocabulary}" if self.vocabulary else ""
        return f"{sources} to {self.output} ({sinks}{ids}): {made}"

    def override(self, **changes: Any) -> JobConfig:
        """The same job with other fields: `workers=2`, `output="there"`, or `device="cuda"`, which is for all its
        tokenizers; raises UsageError on unknown ones."""
        of_run = {one.name for one in dataclasses.fields(RunConfig)}
        known = [*(one.name for one in dataclasses.fields(self)), *sorted(of_run), "device"]
        for name in changes:
            if name not in known:
                raise UsageError(f"a job has no {name}{did_you_mean(name, known)}; known: {', '.join(known)}")
        run = dataclasses.replace(self.run, **{key: changes.pop(key) for key in of_run & set(changes)})
        if "device" in changes:
            if not self.tokenizers:
                raise UsageError("device: [compose] loads no model: leave it out")
            device, tokenizers = changes.pop("device"), changes.get("tokenizers", self.tokenizers)
            moved = {modality: dataclasses.replace(one, device=device) for modality, one in tokenizers.items()}
            changes["tokenizers"] = moved
        return dataclasses.replace(self, **{"run": run, **changes})

    def spelled_as(self, planned: Mapping[str, Any]) -> JobConfig:
        """The same job, with local paths of sources as a plan's `work` spells them: `in/` and `./in` are `in`."""

        def spelled(one: SourceConfig, path: str) -> SourceConfig:
            local = not is_url(one.path) and not is_url(path)
            same = local and os.path.abspath(one.path) == os.path.abspath(path)
            return dataclasses.replace(one, path=path) if same else one

        if len(self.sources) != len(planned["sources"]):
            return self
        pairs = zip(self.sources, planned["sources"], strict=True)
        return dataclasses.replace(self, sources=tuple(spelled(one, old["path"]) for one, old in pairs))

    def work(self) -> dict[str, Any]:
        """The part that decides the output's bytes, as plain data: what a plan freezes."""
        record = dataclasses.asdict(self)
        for one in record["tokenizers"].values():
            del one["device"], one["checkpoint"]  # the Spec id says which weights; a device is no identity
            for option in DECODE_ONLY.get(one["name"], ()):
                one["options"].pop(option, None)
        del record["output"], record["run"]
        return record


def load_config(path: str | Path) -> JobConfig:
    """A job file (TOML) → JobConfig. Raises UsageError naming the key that is unknown, missing or of a wrong type."""
    return from_record(read_toml(path, "a job file"), str(path))


def from_record(record: Mapping[str, Any], where: str) -> JobConfig:
    """Plain nested data, as TOML gives it → JobConfig."""
    return build(JobConfig, record, where)
