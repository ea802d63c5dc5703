"""A job as data: what is read, what is made of it, what is written. Frozen, from TOML; unknown keys are errors."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from ..compose import Form
from ..errors import UsageError
from ..records import Positive, Share, Text, Within, build, check
from ..registry import find
from .documents import OF_SEQUENCES, check_documents, check_loss
from .urls import is_pattern, is_url

__all__ = ["ComposeConfig", "JobConfig", "RunConfig", "SinkConfig", "SourceConfig", "TokenizerConfig", "load_config"]

NEEDS_VOCABULARY = ("megatron", "litdata", "anygpt")

AtLeastOne = Annotated[int, Within(1, 10**9)]
Seconds = Annotated[float, Within(0, 10**6, above=True)]  # more than a system's calls can wait for
SourceKind = Literal["", "folder", "glob", "manifest", "tar", "parquet", "hf", "codes"]
SinkKind = Literal["parquet", "hf", "webdataset", "megatron", "litdata", "lhotse", "anygpt"]
Column = Literal["key", "path", "media", "text", "modality"]


@dataclass(frozen=True)
class SourceConfig:
    """Where items come from. `kind` is guessed from the path where it is not given; one that is there is no pattern.

    `modality` may be left out where the file suffix decides: pictures are "image", sound belongs to the job's
    only audio tokenizer. `columns` renames what manifests and tables call things: `key`, `path`, `media`,
    `text`, `modality`; "" is for none. `text_suffix` (folders, globs, tars) names the caption file beside a medium,
    such as ".txt". A column or suffix that is named must be there.
    `quotes` False takes quotes in a .csv or .tsv as the text they are, which some corpora never put around a field.
    `kind` "codes" is the output of another job, for [compose]: it is passed over `weight` times, of which a fraction
    takes so large a share of the items.
    """

    path: Text
    kind: SourceKind = ""
    modality: str = ""
    name: str = ""  # keys begin with it where a job has several sources
    columns: Mapping[Column, str] = field(default_factory=dict)
    text_suffix: str = ""
    split: str = ""  # of a Hugging Face dataset
    quotes: bool = True
    weight: Positive = 1.0

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "kind", self.kind or self.guess())

    def guess(self) -> SourceKind:
        """The kind that the path looks like."""
        suffix = Path(self.path).suffix.lower()
        by_suffix: dict[str, SourceKind] = {".tar": "tar", ".parquet": "parquet"}
        by_suffix |= {".csv": "manifest", ".tsv": "manifest", ".jsonl": "manifest"}
        return by_suffix.get(suffix) or ("glob" if is_pattern(self.path) else "folder")


@dataclass(frozen=True)
class TokenizerConfig:
    """What `anytok.load_tokenizer` gets."""

    name: Text
    engine: str = "native"
    checkpoint: Text | None = None
    device: str = "cpu"
    dtype: str = "float32"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class SinkConfig:
    """One output of the single pass. With `documents`, its ids are those of each item with its text, in this form, as
    [compose.documents] makes them of stored codes; else of the medium alone."""

    kind: SinkKind
    documents: Form | None = None

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class RunsConfig:
    """How the codes of a modality are written: in which pattern, and how many layers; None as the vocabulary has it."""

    pattern: Text | None = None
    num_codebooks: AtLeastOne | None = None

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ComposeConfig:
    """How stored codes become sequences. `documents` is their form; its seed shuffles, too. `runs` goes by modality.

    With a `length`, documents are packed into sequences of at most as many ids, `window` of them open at a time; with
    0 each is a sequence of its own. `shuffle`: the files of all sources in random order, and the documents of
    `shuffle_files` of these in a row in random order.
    """

    documents: Form = field(default_factory=Form)
    length: Annotated[int, Within(0, 10**9)] = 0
    window: AtLeastOne = 256
    text_tokenizer: str = ""  # a folder, or a name on the hub
    runs: Mapping[str, RunsConfig] = field(default_factory=dict)
    shuffle: bool = True
    shuffle_files: AtLeastOne = 8

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class RunConfig:
    """How the work is carried out. None of this changes a byte of the output, so none of it is in the plan."""

    runner: Literal["local", "ray"] = "local"
    workers: AtLeastOne = 1  # processes that hold the models; one a GPU
    readers: AtLeastOne = 1  # processes that read and decode, for each worker
    batch_frames: AtLeastOne = 4096  # longest item × items of a batch, in frames
    batch_items: AtLeastOne = 32
    item_seconds: Seconds = 60.0  # reading and decoding one item may take this long
    batch_seconds: Seconds = 600.0  # the model may take this long over a batch; longer over one beyond batch_frames
    max_failure_rate: Share = 0.2
    ray_address: str = ""  # of a running cluster; else Ray starts here
    cache: str = ""  # a folder in which codes are looked up first; see `anytok.cached`

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class JobConfig:
    """A whole job: media through `tokenizers`, by modality, or stored codes through `compose`. `vocabulary` is a name
    or a layout file, "" for codes alone; `text_tokenizer` makes the ids of texts, where sinks have documents. `margins`
    keeps each item's least margin (`Codes.margins`), by which `anytok verify --canonical` chooses."""

    output: Text
    sources: tuple[SourceConfig, ...]
    tokenizers: Mapping[str, TokenizerConfig] = field(default_factory=dict)
    sinks: tuple[SinkConfig, ...] = (SinkConfig("parquet"),)
    vocabulary: str = ""
    text_tokenizer: str = ""  # a folder, or a name on the hub; not for a vocabulary whose text ids are bytes
    shard_items: AtLeastOne = 1000
    margins: bool = False
    run: RunConfig = RunConfig()
    compose: ComposeConfig | None = None

    def __post_init__(self) -> None:
        check(self)
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
    def simple(cls, source: str, output: str, tokenizer: str, **overrides: Any) -> JobConfig:
        """A job of one source and one tokenizer, into parquet: `anytok run SOURCE OUT --tokenizer NAME`.

        `checkpoint`, `device`, `dtype` and `engine` go to the tokenizer, the rest is as in `override`.
        """
        named = {key: overrides.pop(key) for key in ("checkpoint", "device", "dtype", "engine") if key in overrides}
        modality = find(tokenizer).spec.modality
        tokenizers = {modality: TokenizerConfig(tokenizer, **named)}
        return cls(output, (SourceConfig(source, modality=modality),), tokenizers).override(**overrides)

    def __str__(self) -> str:
        sources, sinks = ", ".join(one.path for one in self.sources), ", ".join(one.kind for one in self.sinks)
        made = ", ".join(f"{modality} by {one.name}" for modality, one in self.tokenizers.items())
        ids = f", ids of {self.vocabulary}" if self.vocabulary else ""
        return f"{sources} to {self.output} ({sinks}{ids}): {made}"

    def override(self, **changes: Any) -> JobConfig:
        """The same job with other fields: `workers=2`, `output="there"`; raises UsageError on unknown ones."""
        of_run = {one.name for one in dataclasses.fields(RunConfig)}
        unknown = set(changes) - of_run - {one.name for one in dataclasses.fields(self)}
        if unknown:
            raise UsageError(f"a job has no {', '.join(sorted(unknown))}; a run has {', '.join(sorted(of_run))}")
        run = dataclasses.replace(self.run, **{key: changes.pop(key) for key in of_run & set(changes)})
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
        for tokenizer in record["tokenizers"].values():
            del tokenizer["device"], tokenizer["checkpoint"]  # the Spec id says which weights; a device is no identity
        del record["output"], record["run"]
        return record


def load_config(path: str | Path) -> JobConfig:
    """A job file (TOML) → JobConfig. Raises UsageError naming the key that is unknown, missing or of a wrong type."""
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"a job that is a {type(path).__name__}: expected the path of a TOML file, or a JobConfig")
    try:
        record = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the job file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a TOML file: {error}") from error
    return from_record(record, str(path))


def from_record(record: Mapping[str, Any], where: str) -> JobConfig:
    """Plain nested data, as TOML gives it → JobConfig."""
    return build(JobConfig, record, where)
