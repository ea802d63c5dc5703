"""What a job can write. A sink is a function that writes one Shard, or SequenceShard, to one file, or a few, with equal
bytes for equal rows; `SINKS` names them, and `views` lays out the finished shards as their readers expect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import JobError
from ...spec import Codes
from ..stored import codes_parquet, codes_webdataset
from ..values import reason_of
from .archives import keys_anygpt, keys_webdataset, read_anygpt, write_anygpt, write_webdataset
from .lhotse import codes_lhotse, keys_lhotse, name_lhotse, write_lhotse
from .packed import (
    count_litdata,
    count_megatron,
    index_litdata,
    read_litdata,
    read_megatron,
    write_litdata,
    write_megatron,
)
from .tables import index_hf, keys_parquet, write_hf, write_parquet

__all__ = ["SINKS", "Sink"]


@dataclass(frozen=True)
class Sink:
    """`write(stem, shard)` writes `stem` + each of `suffixes`, `read_keys(stem)` reads back the keys of its rows (or
    their number, where the format has no place for keys), `index(folder, stems)` writes what ties shards together.
    `codes(stem)` reads back the Codes of its rows; where the format has no place for them, `ids(stem)` their ids, or
    text that spells these."""

    write: Callable[[Path, Any], None]
    read_keys: Callable[[Path], list[str] | int]
    suffixes: tuple[str, ...]
    folder: str = ""  # of the shards, within OUT/<kind>
    index: Callable[[Path, Sequence[Path]], None] | None = None
    name: Callable[[int, str], str] = "{:06d}{}".format  # of a file, by its shard and suffix
    codes: Callable[[Path], list[Codes]] | None = None
    ids: Callable[[Path], Sequence[Any]] | None = None

    def keys(self, stem: Path) -> list[str] | int:
        """`read_keys`; raises JobError where the file is damaged."""
        try:
            return self.read_keys(stem)
        except Exception as error:
            raise JobError(f"{stem.name} cannot be read ({reason_of(error)})") from error

    def views(self, root: Path, stem: Path, shard: int) -> Iterator[tuple[Path, Path]]:
        """Where a shard's files belong below `root` (OUT/<kind>), each with the file itself."""
        for suffix in self.suffixes:
            yield root / self.folder / self.name(shard, suffix), stem.with_suffix(suffix)


SINKS: Mapping[str, Sink] = {
    "parquet": Sink(write_parquet, keys_parquet, (".parquet",), codes=codes_parquet),
    "hf": Sink(write_hf, keys_parquet, (".parquet",), "data", index_hf, codes=codes_parquet),
    "webdataset": Sink(write_webdataset, keys_webdataset, (".tar",), codes=codes_webdataset),
    "megatron": Sink(write_megatron, count_megatron, (".bin", ".idx"), ids=read_megatron),
    "litdata": Sink(write_litdata, count_litdata, (".bin",), "", index_litdata, ids=read_litdata),
    "lhotse": Sink(write_lhotse, keys_lhotse, (".cuts.jsonl", ".codes.tar"), name=name_lhotse, codes=codes_lhotse),
    "anygpt": Sink(write_anygpt, keys_anygpt, (".jsonl",), ids=read_anygpt),
}
