"""Where items come from: folders, patterns, manifests, tar shards, parquet tables, saved datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ...errors import AnytokError, JobError, UsageError
from ...registry import find
from ..config import JobConfig
from ..documents import wants_texts
from ..items import Item
from ..urls import is_url
from ..values import reason_of
from .archive import TarSource
from .codes import CodesSource
from .dataset import DatasetSource
from .folder import FolderSource, GlobSource
from .manifest import ManifestSource
from .source import Choice, Source, check_there
from .tables import ParquetSource

__all__ = ["Source", "listed", "look_at_sources", "no_media", "open_sources", "passed_over", "sidecars", "wanted_items"]

_KINDS: dict[str, type[Source]] = {
    "folder": FolderSource, "glob": GlobSource, "manifest": ManifestSource,
    "tar": TarSource, "parquet": ParquetSource, "hf": DatasetSource, "codes": CodesSource,
}  # fmt: skip

NO_TEXT = "it has no text, and a sink has documents with texts"


def open_sources(config: JobConfig) -> list[tuple[str, Source]]:
    """The job's sources with the prefix of their keys: none for a single source, else its name."""
    specs = {modality: find(tokenizer.name).spec for modality, tokenizer in config.tokenizers.items()}
    kinds = {modality: "picture" if spec.is_image else "sound" for modality, spec in specs.items()}
    opened = []
    for number, one in enumerate(config.sources):
        check_there(one.path)
        prefix = f"{one.name or number}/" if len(config.sources) > 1 else ""
        kind = GlobSource if one.kind == "folder" and is_url(one.path) else _KINDS[one.kind]
        source = kind(one, Choice(one.modality, kinds))
        if isinstance(source, CodesSource) and config.compose:
            source.document = config.compose.documents.document
        opened.append((prefix, source))
    if len({prefix for prefix, _ in opened}) < len(opened):
        raise UsageError("two sources have one name: each needs its own")
    return opened


def look_at_sources(config: JobConfig) -> None:
    """Raise what is wrong with the sources at first sight, before weights are fetched for them: one is not there or
    cannot be read, or one holds no media for this job, or no texts where it writes them."""
    sources = open_sources(config)
    if empty := [source for _, source in sources if next(listed(source.items()), None) is None]:
        raise no_media(config, empty)
    for _, source in sources if wants_texts(config) else ():
        if all(_lacks_text(item) for item in listed(source.items())):
            raise UsageError(
                f"source {source.config.path!r}: none of its items has a text, and a sink has documents with texts: "
                'say where they are (text_suffix = ".txt", or columns = { text = "…" }), or leave the documents out'
            )


def no_media(config: JobConfig, sources: list[Source]) -> UsageError:
    """What to say where listing these sources has given nothing."""
    names, wanted = ", ".join(source.config.path for source in sources), ", ".join(config.tokenizers)
    what = "codes" if config.compose else f"media for {wanted}"
    rest = ", ".join(f"{count} {reason}" for reason, count in passed_over(sources).items()) or "nothing"
    return UsageError(f"sources {names} hold no {what}; passed over: {rest}")


def passed_over(sources: list[Source]) -> dict[str, int]:
    """How many files, columns and rows the listing has left out, by reason."""
    return dict(sorted(sum((source.ignored for source in sources), Counter()).items()))


def sidecars(sources: list[Source]) -> dict[str, int]:
    """How many files beside media were read for their texts and metadata, by suffix."""
    return dict(sorted(sum((source.sidecars for source in sources), Counter()).items()))


def wanted_items(config: JobConfig, source: Source) -> Iterator[Item]:
    """What a source lists; where the job writes texts, items without one are unusable."""
    texts = wants_texts(config)
    for item in listed(source.items()):
        yield item.unusable("incomplete", NO_TEXT) if texts and _lacks_text(item) else item


def _lacks_text(item: Item) -> bool:
    return item.text is None and item.place[:1] != ("unusable",)  # which has a reason of its own


def listed(listing: Iterator[Any]) -> Iterator[Any]:
    """A source's listing; what else is raised meanwhile is the source's fault, not the output's."""
    try:
        yield from listing
    except AnytokError:
        raise
    except Exception as error:
        raise JobError(f"a source cannot be listed: {reason_of(error)}") from error
