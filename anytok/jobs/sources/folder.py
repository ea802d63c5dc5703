"""Files in folders, and files that match a pattern."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from ...errors import UsageError
from ...media.formats import kind_of
from ..config import SourceConfig
from ..folders import walk
from ..items import Input, Item, valid_text
from ..urls import is_url, list_files, local_path, open_url, size_and_stamp, tail_of
from ..values import MAX_TEXT, caption, reason_of
from .manifest import file_item
from .source import Choice, Source

__all__ = ["FolderSource", "GlobSource", "captions"]

_COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar")


class FolderSource(Source):
    """All media files below a folder, by path; see `walk` for which links to folders are followed."""

    settings = ("text_suffix",)

    def __init__(self, config: SourceConfig, choice: Choice) -> None:
        super().__init__(config, choice)
        if not os.path.isdir(config.path):
            raise UsageError(f"source {config.path!r} is no folder: {_advice(config.path)}")

    def inputs(self) -> Iterator[Input]:
        for _, path, _, _ in self._media():
            yield Input(path, *size_and_stamp(path))

    def items(self) -> Iterator[Item]:
        count = 0
        for name, path, modality, beside in self._media():
            count += 1
            text, problem = read_caption(beside) if beside else (None, "")
            yield file_item(name, modality, path, text=text).unusable("bad_text", problem)
        self.check_texts(count)

    def _media(self) -> Iterator[tuple[str, str, str, str | None]]:
        """Name below the folder, path, modality and caption file of each medium."""
        self.begin()
        for folder, entries in walk(self.config.path, self.ignored, outputs=False):
            beside = self._captions([entry.name for entry in entries]) if self.config.text_suffix else {}
            used = set(beside.values())
            for entry in entries:
                if modality := self._modality(entry.name):
                    label = f"{folder}/{entry.name}" if folder else entry.name
                    caption = beside.get(entry.name)
                    path = entry.path
                    yield label, path, modality, caption and os.path.join(os.path.dirname(path), caption)
                elif entry.name not in used:
                    self.pass_over(entry.name)

    def _modality(self, name: str) -> str | None:
        return self.choice.by_suffix(os.path.splitext(name)[1])

    def _captions(self, names: list[str]) -> dict[str, str]:
        found = captions(filter(self._modality, names), names, self.config.text_suffix)
        self.take_texts(len(set(found.values())))
        return found


class GlobSource(Source):
    """Files that match a pattern, here or at any fsspec URL; a URL without a pattern means all files below it."""

    settings = ("text_suffix",)

    def inputs(self) -> Iterator[Input]:
        for path, num_bytes, stamp in list_files(self.config.path):
            yield Input(path, num_bytes, stamp)

    def items(self) -> Iterator[Item]:
        self.begin()
        tail = tail_of(self.config.path)
        found = list_files(self.config.path, self.ignored)
        files = [(path.removesuffix(tail), num_bytes, stamp) for path, num_bytes, stamp in found]
        modalities = {path: self.choice.by_suffix(os.path.splitext(path)[1]) for path, _, _ in files}
        media = [path for path, modality in modalities.items() if modality]
        beside = captions(media, self._neighbours(media, modalities), self.config.text_suffix)
        self.take_texts(len(set(beside.values())))
        for path in modalities.keys() - set(media) - set(beside.values()):
            self.pass_over(path)
        for path, num_bytes, stamp in files:
            if modality := modalities[path]:
                text, problem = self._text(path, beside.get(path), tail)
                item = Item(valid_text(path + tail), modality, path + tail, num_bytes, stamp, text=text)
                yield item.unusable("bad_text", problem)
        self.check_texts(len(media))

    def _neighbours(self, media: list[str], listed: Iterable[str]) -> set[str]:
        """All files that may be captions: what is listed, and of local media all in their folders."""
        names = set(listed)
        for folder in {os.path.dirname(path) for path in media if self.config.text_suffix}:
            if local := local_path(folder):
                names.update(f"{folder}/{name}" for name in os.listdir(local))
        return names

    def _text(self, path: str, beside: str | None, tail: str) -> tuple[str | None, str]:
        if beside or not self.config.text_suffix or local_path(path) is not None:
            return read_caption(beside + tail) if beside else (None, "")
        suffix = self.config.text_suffix  # a server that was not asked for a listing: try
        stem, own = os.path.splitext(path)
        for name in [stem + suffix.upper(), stem + suffix] if own.isupper() else [stem + suffix]:
            text, problem = read_caption(name + tail, missing_is_none=True)
            if text is not None or problem:
                self.take_texts(1)
                return text, problem
        return None, ""


def _advice(path: str) -> str:
    """What to give instead of a file that is no source."""
    suffix = os.path.splitext(path)[1].lower()
    if kind_of(suffix):
        return f"for single files there is `anytok encode`; else give their folder, or a pattern such as '*{suffix}'"
    if suffix in _COMPRESSED:
        return f"{suffix} files are not read as they are: unpack it, and give the folder, the .tar or the table in it"
    return "give a folder, a pattern, a table (.csv, .tsv, .jsonl, .parquet), a .tar, or say which kind the file is"


def captions(media: Iterable[str], names: Iterable[str], suffix: str) -> dict[str, str]:
    """Of each medium the file with its stem and `suffix`, in whatever case that is written: `A.TXT` beside `A.WAV`."""
    if not suffix:
        return {}
    by_stem: dict[str, str] = {}
    for name in sorted(names):
        if name.lower().endswith(suffix.lower()):
            stem = name[: -len(suffix)]
            if name.endswith(suffix) or stem not in by_stem:
                by_stem[stem] = name
    found = ((name, by_stem.get(os.path.splitext(name)[0])) for name in media)
    return {name: beside for name, beside in found if beside and beside != name}


def read_caption(path: str, *, missing_is_none: bool = False) -> tuple[str | None, str]:
    """The text of a caption file, and what is wrong with it: one of them None or empty."""
    try:
        if not is_url(path) and not stat.S_ISREG(os.stat(path).st_mode):
            return None, f"its text {path} is no regular file"
        with open_url(path) as stream:
            return caption(stream.read(MAX_TEXT + 1)), ""
    except Exception as error:  # a file system of anybody's raises anything
        if missing_is_none and isinstance(error, FileNotFoundError):
            return None, ""
        return None, f"its text {path} cannot be read: {reason_of(error)}"
