"""A committed shard, read back: its rows with their codes, from whichever of the job's outputs keeps most of them.

Outputs that keep ids alone go back through the job's vocabulary: strictly, and with as many layers as it writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import JobError
from ..spec import Codes, Spec
from .commit import Store, sha256_of
from .config import SinkConfig
from .items import Item
from .plan import Plan
from .shard import TALLY, Row
from .sinks import SINKS
from .values import reason_of

if TYPE_CHECKING:
    from ..vocab import Vocabulary

__all__ = ["contents_in", "failed_in", "needs_vocabulary", "read_rows", "read_tally", "written_items"]


def failed_in(store: Store, shard: int) -> set[int]:
    """The indexes of a committed shard's items that have no row."""
    return {failure["index"] for failure in store.record(shard)["failures"]}


def written_items(plan: Plan, store: Store, shard: int) -> list[Item]:
    """The items that a committed shard's rows are of, in order."""
    failed = failed_in(store, shard)
    return [item for index, item in enumerate(plan.items(shard)) if index not in failed]


def contents_in(tally: Mapping[str, np.ndarray]) -> list[int]:
    """The `content_hash` of each row's medium; 0 for those of earlier versions, which kept none."""
    return (tally["contents"] if "contents" in tally else np.zeros(len(tally["digests"]), np.uint64)).tolist()


def needs_vocabulary(sinks: Sequence[SinkConfig]) -> bool:
    """Whether none of a job's outputs keeps codes."""
    return not any(SINKS[one.kind].codes for one in sinks)


def read_rows(
    plan: Plan, store: Store, sinks: Sequence[SinkConfig], vocabulary: Vocabulary | None, shard: int
) -> list[Row]:
    """The rows of a committed shard as its sinks were given them; from outputs that keep ids alone, in the layers that
    the vocabulary writes. Raises JobError where a file is not what was written, or cannot be read."""
    items = written_items(plan, store, shard)
    if not items:
        return []
    kinds = [one.kind for one in sinks]
    kind = next((kind for kind in kinds if SINKS[kind].codes), kinds[0])
    _check_files(store, shard, kind)
    stem, tally = store.path(shard) / kind, read_tally(store, shard)
    try:
        if read := SINKS[kind].codes:
            codes = read(stem)
        else:
            read_ids = SINKS[kind].ids
            assert read_ids is not None and vocabulary is not None, "checked when the job was read"
            lengths = _lengths(tally, items, plan.specs)
            plain = type(vocabulary)(vocabulary.layout)  # without a text tokenizer: words beside the codes stay ids
            parsed = [_media_of(one, plain) for one in read_ids(stem)]
            codes = [
                Codes(one.values, plan.specs[item.modality], length)
                for one, item, length in zip(parsed, items, lengths, strict=True)
            ]
        return _rows(items, codes, tally)
    except Exception as error:  # of a damaged file, its reader raises anything
        raise JobError(f"shard {shard}: {kind} cannot be read back ({reason_of(error)})") from error


def read_tally(store: Store, shard: int) -> Mapping[str, np.ndarray]:
    """The counts of a committed shard; see `Shard.write_tally`. Raises JobError where it is damaged."""
    try:
        with np.load(store.path(shard) / TALLY) as tally:
            return dict(tally)
    except Exception as error:  # of a damaged file, numpy raises anything
        raise JobError(
            f"shard {shard} is damaged ({TALLY}: {reason_of(error)}): run the job again, it makes the shard anew"
        ) from error


def _check_files(store: Store, shard: int, kind: str) -> None:
    """Raise JobError unless the tally and the files of one output are as they were written."""
    for name, facts in store.record(shard)["files"].items():
        if name == TALLY or name.partition(".")[0] == kind:
            path = store.path(shard) / name
            if not path.is_file() or sha256_of(path) != facts["sha256"]:
                raise JobError(f"shard {shard}: {name} is not as it was written: run the job again, it makes it anew")


def _media_of(written: Any, vocabulary: Vocabulary) -> Codes:
    """The codes in the ids, or in the text, of one row."""
    parts = vocabulary.from_text(written) if isinstance(written, str) else vocabulary.from_ids(written)
    found = [part for part in parts if isinstance(part, Codes)]
    if len(found) != 1:
        raise JobError(f"a row with the codes of {len(found)} media: expected one")
    return found[0]


def _lengths(tally: Mapping[str, np.ndarray], items: Sequence[Item], specs: Mapping[str, Spec]) -> list[int | None]:
    """Samples of each row's sound, which ids do not tell; None for pictures."""
    seconds = {name: iter(tally[f"seconds_{name}"].tolist()) for name in {item.modality for item in items}}
    found = []
    for item in items:
        rate, length = specs[item.modality].sample_rate, next(seconds[item.modality])
        found.append(round(length * rate) if rate and length else None)
    return found


def _rows(items: Sequence[Item], codes: Sequence[Codes], tally: Mapping[str, np.ndarray]) -> list[Row]:
    """With what the tally keeps of each, which does not follow from codes with fewer layers."""
    warnings = json.loads(tally["warnings"].tobytes()) if "warnings" in tally else {}
    contents = contents_in(tally)
    margins = tally["margins"].tolist() if "margins" in tally else [None] * len(items)
    rows = []
    for number, (item, one) in enumerate(zip(items, codes, strict=True)):
        row = Row(item, one, tuple(warnings.get(str(number), ())), contents[number])
        row.known_digest, row.least_margin = int(tally["digests"][number]), margins[number]
        rows.append(row)
    return rows
