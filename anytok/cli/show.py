"""`list`, `info`, `fetch`: which tokenizers and voices there are, what they do, and where their weights come from."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import TYPE_CHECKING, Any

from ..arguments import did_you_mean
from ..errors import UsageError
from .loading import say

if TYPE_CHECKING:
    from ..registry import Entry
    from ..spec import Spec

__all__ = ["register"]


def register(add: Any) -> None:
    """Add the commands to the parser."""
    add(_list).add_argument("--json", action="store_true", help="one JSON list for scripts")
    info = add(_info)
    info.add_argument("name", metavar="NAME", help="a tokenizer or a voice, as `anytok list` calls it")
    info.add_argument("--json", action="store_true", help="one JSON object for scripts")
    info.add_argument("--load", action="store_true", help="import another package's tokenizer, to say what it takes")
    fetch = add(_fetch)
    fetch.add_argument("name", metavar="NAME", help="a tokenizer or a voice, as `anytok list` calls it")
    fetch.add_argument("--to", metavar="DIR", help="where to put the files (default: the user's cache)")


def _list(args: argparse.Namespace) -> int:
    """List the tokenizers that can be loaded here, and the voices.

    Example:
      anytok list
    """
    from ..registry import find, list_tokenizers, list_voices

    entries = [find(name) for name in list_tokenizers()]
    if args.json:
        records = [_record(entry) for entry in entries] + [_voice_record(name) for name in list_voices()]
        print(json.dumps(records, indent=2))
        return 0
    rows = [("NAME", "TAKES", "GIVES", "WEIGHTS")]
    for entry in entries:
        sizes = (_takes(entry.published), _gives(entry.published)) if entry.published else ("(not imported)", "")
        rows.append((entry.name, *sizes, _weights(entry)))
    rows += [(name, *_voice_sizes(name), _weights_of(name)) for name in list_voices()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _info(args: argparse.Namespace) -> int:
    """Say what a tokenizer or a voice takes and gives, which engines it has, and what its weights are.

    Example:
      anytok info speechtokenizer
    """
    from ..recipes import described
    from ..registry import find, list_tokenizers, list_voices

    if args.name in list_voices():
        takes, gives = _voice_sizes(args.name)
        lines = {"takes": takes, "gives": gives, "loaded by": f"anytok.load_voice({args.name!r})"}
        _tell(args.name, json.dumps(_voice_record(args.name), indent=2) if args.json else "", lines)
        return 0
    if args.name not in (known := [*list_tokenizers(), *list_voices()]):
        near = did_you_mean(args.name, known)
        raise UsageError(f"no tokenizer or voice is called {args.name!r}; known: {', '.join(known)}{near}")
    entry = find(args.name)
    spec = entry.spec if args.load else entry.published
    unknown = f"its package says, once it is imported: anytok info {entry.name} --load"
    lines = {
        "takes": _takes(spec) if spec else unknown,
        "gives": _gives(spec) if spec else "",
        "input": described(spec.preprocessing) if spec else "",
        "engines": ", ".join(entry.engines),
        "loaded by": "" if not entry.package else ", ".join(entry.engines.values()),
        "weights": _weights(entry),
    }
    _tell(entry.name, json.dumps(_record(entry, spec), indent=2) if args.json else "", lines)
    return 0


def _tell(name: str, as_json: str, lines: dict[str, str]) -> None:
    """Print a record, or the lines that say what something is, with where its weights come from."""
    from ..checkpoints.cards import CARDS

    if as_json:
        print(as_json)
        return
    card = CARDS.get(name)
    lines = {**lines, "weights": lines.get("weights") or _weights_of(name)}
    if card:
        lines |= {"licence": card.licence, "note": card.note}
        lines |= {file.name: f"{file.holds} ({file.size}), from {file.repo or file.url}" for file in card.files}
    print(name)
    width = max(map(len, lines))
    for label, text in lines.items():
        if text:
            print(textwrap.fill(text, 110, initial_indent=f"  {label:{width}}  ", subsequent_indent=" " * (width + 4)))


def _fetch(args: argparse.Namespace) -> int:
    """Download the published weights of a tokenizer or a voice once, check them, and print the folder.

    Example:
      anytok fetch speechtokenizer --to weights/speechtokenizer
    """
    from ..checkpoints import CARDS, fetch
    from ..checkpoints.fetch import missing_files

    for file in missing_files(args.name, args.to):
        say(f"fetching {file.name} ({file.size}) from {file.repo or file.url}")
    if args.name in CARDS:
        say(f"licence of the weights: {CARDS[args.name].licence}")
    print(fetch(args.name, args.to))
    return 0


def _takes(spec: Spec) -> str:
    if spec.is_image:
        return f"{spec.modality}, resized to {spec.image_size} x {spec.image_size}"
    channels = "stereo" if spec.channels == 2 else "mono"
    return f"{spec.modality}, {spec.sample_rate} Hz {channels}"


def _gives(spec: Spec) -> str:
    books = f"{spec.num_codebooks} x " if spec.num_codebooks > 1 else ""
    if spec.num_frames is not None:
        return f"{books}{spec.num_frames} codes of {spec.codebook_size}"
    return f"{books}{spec.frame_rate} codes of {spec.codebook_size} a second"


def _voice_sizes(name: str) -> tuple[str, str]:
    """What a voice takes and gives."""
    from ..registry import find, speech_of

    spec = find(speech_of(name)).spec
    return f"codebook 1 of {spec.name}", f"all {spec.num_codebooks} of its codebooks, in a voice"


def _voice_record(name: str) -> dict[str, Any]:
    from ..registry import speech_of

    return {"name": name, "kind": "voice", "speech": speech_of(name), "weights": _weights_of(name), **_published(name)}


def _weights(entry: Entry) -> str:
    return f"those of the package {entry.package}" if entry.package else _weights_of(entry.name)


def _weights_of(name: str) -> str:
    from ..checkpoints.cards import CARDS
    from ..checkpoints.fetch import missing_files

    if name not in CARDS:
        return "with anytok"
    sizes = [file.size.removeprefix("about ") for file in missing_files(name) if not file.size.endswith("kB")]
    return f"to be fetched: {' + '.join(sizes)}" if sizes else "here"


def _record(entry: Entry, spec: Spec | None = None) -> dict[str, Any]:
    spec = spec or entry.published
    return {
        "name": entry.name,
        **(spec.to_dict() if spec else {}),
        "package": entry.package or "anytok",
        "engines": list(entry.engines),
        "weights": _weights(entry),
        **_published(entry.name),
    }


def _published(name: str) -> dict[str, Any]:
    """The licence and the files of published weights."""
    from ..checkpoints.cards import CARDS

    card = CARDS.get(name)
    files = card.files if card else ()
    return {
        "licence": card.licence if card else None,
        "files": [{"name": file.name, "size": file.size, "from": file.repo or file.url} for file in files],
    }
