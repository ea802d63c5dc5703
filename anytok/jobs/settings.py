"""The tables of a job file, each a frozen dataclass: the text below a field is its entry in configs/reference.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from ..compose import Form
from ..records import Checked, Line, Positive, Share, Text, Within
from .urls import is_pattern

__all__ = ["AtLeastOne", "ComposeConfig", "RunConfig", "RunsConfig", "SinkConfig", "SourceConfig", "TokenizerConfig"]

AtLeastOne = Annotated[int, Within(1, 10**9)]
Seconds = Annotated[float, Within(0, 10**6, above=True)]  # more than a system's calls can wait for
SourceKind = Literal["", "folder", "glob", "manifest", "tar", "parquet", "hf", "codes"]
SinkKind = Literal["parquet", "hf", "webdataset", "megatron", "litdata", "lhotse", "anygpt"]
Column = Literal["key", "path", "media", "text", "modality"]


@dataclass(frozen=True)
class SourceConfig(Checked):
    """Where items come from: `[[sources]]`, one or several."""

    path: Text
    """A folder, pattern, file or URL, as `kind` says; one that is there is no pattern."""
    kind: SourceKind = ""
    """How it is read; guessed from the path where it is not given. `codes` is the output of another job, for
    `[compose]`."""
    modality: str = ""
    """What the items are, such as `image`. May be left out where the suffix decides: pictures are `image`, sound
    belongs to the job's only audio tokenizer."""
    name: str = ""
    """Keys begin with it where a job has several sources."""
    columns: Mapping[Column, str] = field(default_factory=dict)
    """What manifests and tables call `key`, `path`, `media`, `text` and `modality`, where they call it otherwise; `""`
    is for none. A column that is named must be there."""
    text_suffix: str = ""
    """Of folders, patterns and tars: the suffix of the caption file beside a medium, such as `.txt`; if named, it must
    be there."""
    split: str = ""
    """Of a Hugging Face dataset."""
    quotes: bool = True
    """`false` takes quotes in a .csv or .tsv as the text they are, which some corpora never put around a field."""
    weight: Positive = 1.0
    """Of stored codes: how many times they are passed over. A fraction takes so large a share of the items."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "kind", self.kind or self.guess())

    def guess(self) -> SourceKind:
        """The kind that the path looks like."""
        suffix = Path(self.path).suffix.lower()
        by_suffix: dict[str, SourceKind] = {".tar": "tar", ".parquet": "parquet"}
        by_suffix |= {".csv": "manifest", ".tsv": "manifest", ".jsonl": "manifest"}
        return by_suffix.get(suffix) or ("glob" if is_pattern(self.path) else "folder")


@dataclass(frozen=True)
class TokenizerConfig(Checked):
    """What `anytok.load_tokenizer` gets: `[tokenizers.image]`, `[tokenizers.speech]`, …, one for each modality."""

    name: Text
    """One of `anytok list`."""
    engine: str = "native"
    """`native` (ours) or `reference` (the original package)."""
    checkpoint: Text | None = None
    """A folder with the published files; without it they are fetched once, or come with the package."""
    device: str = "cpu"
    """`cpu`, `cuda`, `cuda:1`, …; it changes no code, so another one makes no other job."""
    dtype: str = "float32"
    """The precision: `float32` (the codes of the originals), `float64`, `bfloat16`, …"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The tokenizer's own, such as `{ num_codebooks = 1 }`."""


@dataclass(frozen=True)
class SinkConfig(Checked):
    """One output of the single pass: `[[sinks]]`, one or several."""

    kind: SinkKind
    """The format; each at most once."""
    documents: Form | None = None
    """With documents, its ids are those of each item with its text, in this form, as `[compose.documents]` makes them
    of stored codes; else of the medium alone."""


@dataclass(frozen=True)
class RunsConfig(Checked):
    """How the codes of a modality are written into sequences: `[compose.runs.music]`, …"""

    pattern: Text | None = None
    """`frame-major`, `layer-major` or `flat-delay`; as the vocabulary has it, where left out."""
    num_codebooks: AtLeastOne | None = None
    """How many layers, the first ones; as the vocabulary has it, where left out."""


@dataclass(frozen=True)
class ComposeConfig(Checked):
    """How stored codes become sequences, for `anytok compose`: `[compose]`."""

    documents: Form = field(default_factory=Form)
    """The form of documents; its seed shuffles, too."""
    length: Annotated[int, Within(0, 10**9)] = 0
    """Documents are packed into sequences of at most as many ids; with 0 each is a sequence of its own."""
    window: AtLeastOne = 256
    """Sequences that are open at a time in packing."""
    text_tokenizer: Line = ""
    """The vocabulary's base tokenizer: a folder, or a name on the hub."""
    runs: Mapping[str, RunsConfig] = field(default_factory=dict)
    """By modality, where runs are not to be as the vocabulary has them."""
    shuffle: bool = True
    """The files of all sources in random order, and their documents, too."""
    shuffle_files: AtLeastOne = 8
    """Files in a row whose documents are in random order among each other."""


@dataclass(frozen=True)
class RunConfig(Checked):
    """How the work is carried out: `[run]`. None of this changes a byte of the output, so none of it is in the plan."""

    runner: Literal["local", "ray"] = "local"
    """This machine, or a Ray cluster."""
    workers: AtLeastOne = 1
    """Processes that hold the models; one a GPU."""
    readers: AtLeastOne = 1
    """Processes that read and decode media, for each worker."""
    batch_frames: AtLeastOne = 4096
    """Longest item × items of a batch, in frames."""
    batch_items: AtLeastOne = 32
    """Items of a batch."""
    item_seconds: Seconds = 60.0
    """Reading and decoding one item may take this long."""
    batch_seconds: Seconds = 600.0
    """The model may take this long over a batch; longer over one beyond `batch_frames`."""
    max_failure_rate: Share = 0.2
    """The job stops where a larger share of all items fails."""
    ray_address: Line = ""
    """Of a running cluster; else Ray starts here."""
    cache: Line = ""
    """A folder in which codes are looked up first; see `anytok.cached`."""
    identify: Literal["time", "content"] = "time"
    """By what `--extend` tells whether an item is as it was: size and time, and where these differ a hash of its
    content; or always the hash."""
