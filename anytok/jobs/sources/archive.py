"""WebDataset tar shards: media in a tar, with their texts and metadata beside them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from ...errors import AnytokError, JobError
from ..items import Input, Item, valid_text
from ..urls import list_files, local_path, open_parts, read_error
from ..values import MAX_TEXT, ValueRefused, caption, load_json, plain, reason_of
from .source import Source
from .tables import Container, containers
from .tar_members import Member, TarDamage, members

__all__ = ["TarSource"]


class TarSource(Source):
    """WebDataset shards. Members are never unpacked; a medium is a place in its tar, its name only a label.

    `x.txt` (or `text_suffix`) and `x.json` beside `x.jpg` become its text and its metadata.
    """

    settings = ("text_suffix",)

    def inputs(self) -> Iterator[Input]:
        return (Input(*found) for found in list_files(self.config.path))

    def items(self) -> Iterator[Item]:
        self.begin()
        count = 0
        for container in containers(self):
            try:
                with open_parts(container.path) as stream:
                    for item in self._items(stream, container):
                        count += 1
                        yield item
            except AnytokError:
                raise
            except TarDamage as error:
                if isinstance(error.__cause__, OSError | ValueError) and local_path(container.path) is None:
                    raise read_error(container.path, "cannot be read", error.__cause__) from error
                what = f"{container.path} is no readable tar ({error})"
                raise JobError(f"{what}: it must be whole, and not compressed") from error
            except Exception as error:
                raise read_error(container.path, "cannot be read", error) from error
        self.check_texts(count)

    def _items(self, stream: IO[bytes], container: Container) -> Iterator[Item]:
        def note(what: str) -> None:
            self.ignored[f"{container.label} ({what})"] += 1

        files = members(stream, note)
        for _, group in itertools.groupby(files, key=lambda member: _group_of(member.name)):
            media, beside = self._sorted(stream, group)
            sidecars = _Sidecars(media, beside)
            for stem, member, modality in media:
                text, meta = sidecars.of(stem, "text"), sidecars.of(stem, "meta")
                place = ("tar", member.offset, member.size)
                key = valid_text(f"{container.label}/{member.name}")
                item = Item(key, modality, container.path, member.size, container.version, place, text.value,
                            meta.value or {})  # fmt: skip
                item = item.unusable("bad_text", text.problem or meta.problem)
                yield item.unusable("sparse", SPARSE if member.is_sparse else "")
            for one, used in sidecars.counts():
                if used:
                    self.sidecars[one.suffix] += 1
                else:
                    self.pass_over(one.stem + one.suffix, "beside no medium")

    def _sorted(self, stream: IO[bytes], group: Iterator[Member]) -> tuple[list[Any], list[_Sidecar]]:
        """Media, as (stem, member, modality), and what is beside them; the rest is counted."""
        media, beside = [], []
        text_suffix = (self.config.text_suffix or ".txt").lower()
        for member in group:
            stem, suffix = os.path.splitext(member.name)
            lowered = member.name.lower()
            if member.problem:
                self.pass_over(member.name, member.problem)
            elif lowered.endswith(text_suffix):
                beside.append(_read(stream, member, "text", text_suffix))
            elif suffix.lower() == ".json":
                beside.append(_read(stream, member, "meta", ".json"))
            elif modality := self.choice.by_suffix(suffix):
                media.append((stem, member, modality))
            else:
                self.pass_over(member.name)
        return media, beside


SPARSE = "it is stored with holes: make the tar anew, without --sparse (-S)"


class _Sidecar(NamedTuple):
    kind: str  # "text" | "meta"
    stem: str
    suffix: str
    value: Any
    problem: str


class _Sidecars:
    """What stands beside the media of one group: that of the same stem, else what no medium of the group has for its
    own, by the longest beginning of names that they share up to a dot: WebDataset's `x.txt` for `x.left.jpg`."""

    def __init__(self, media: list[Any], beside: list[_Sidecar]) -> None:
        self._stems = {stem for stem, _, _ in media}
        self._by_name: dict[tuple[str, str], _Sidecar] = {}
        self._unused: list[_Sidecar] = []
        for one in beside:
            if (one.kind, one.stem) in self._by_name:
                self._unused.append(one)
            else:
                self._by_name[one.kind, one.stem] = one
        self._used: set[tuple[str, str]] = set()

    def of(self, stem: str, kind: str) -> _Sidecar:
        found = self._by_name.get((kind, stem))
        name = stem
        while found is None and "." in name.rpartition("/")[2]:
            name = name.rpartition(".")[0]
            found = None if name in self._stems else self._by_name.get((kind, name))
        if found is None:
            return _Sidecar(kind, stem, "", None, "")
        self._used.add((kind, found.stem))
        return found

    def counts(self) -> Iterator[tuple[_Sidecar, bool]]:
        """Each, and whether a medium has it."""
        yield from ((one, name in self._used) for name, one in self._by_name.items())
        yield from ((one, False) for one in self._unused)


def _group_of(name: str) -> str:
    """WebDataset's key: the name up to the first dot of its last part. What belongs together stands together."""
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.partition('.')[0]}"


def _read(stream: IO[bytes], member: Member, kind: str, suffix: str) -> _Sidecar:
    stem = member.name[: -len(suffix)]
    try:
        if member.is_sparse:
            raise ValueRefused(SPARSE)
        stream.seek(member.offset)
        text = caption(stream.read(min(member.size, MAX_TEXT + 1)))
        return _Sidecar(kind, stem, suffix, text if kind == "text" else _metadata(text), "")
    except (ValueRefused, RecursionError) as error:
        return _Sidecar(kind, stem, suffix, None, f"{member.name}: {reason_of(error)}")


def _metadata(text: str) -> dict[str, Any]:
    record = plain(load_json(text))
    return record if isinstance(record, dict) else {"json": record}
