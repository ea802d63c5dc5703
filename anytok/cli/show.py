"""`list`, `info`, `fetch`: which tokenizers there are, what they do, and where their weights come from."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .loading import say

if TYPE_CHECKING:
    from ..spec import Spec

__all__ = ["register"]


def register(add: Any) -> None:
    """Add the commands to the parser."""
    add(_list).add_argument("--json", action="store_true", help="one JSON list for scripts")
    info = add(_info)
    info.add_argument("name", metavar="NAME", help="a tokenizer, as `anytok list` calls it")
    info.add_argument("--json", action="store_true", help="one JSON object for scripts")
    fetch = add(_fetch)
    fetch.add_argument("name", metavar="NAME", help="a tokenizer, as `anytok list` calls it")
    fetch.add_argument("--to", metavar="DIR", help="where to put the files (default: the user's cache)")


def _list(args: argparse.Namespace) -> int:
    """List the tokenizers that can be loaded here.

    Example:
      anytok list
    """
    from ..registry import find, list_tokenizers

    entries = []
    for name in list_tokenizers():
        try:
            entries.append(find(name))
        except UsageError as error:  # another package's tokenizer that cannot be imported: the rest still lists
            say(error)
    if args.json:
        print(json.dumps([_record(entry.spec, entry.engines) for entry in entries], indent=2))
        return 0
    rows = [("NAME", "TAKES", "GIVES", "WEIGHTS")]
    rows += [(entry.spec.name, _takes(entry.spec), _gives(entry.spec), _weights(entry.spec.name)) for entry in entries]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _info(args: argparse.Namespace) -> int:
    """Say what a tokenizer takes and gives, which engines it has, and what its weights are.

    Example:
      anytok info speechtokenizer
    """
    from ..checkpoints.cards import CARDS
    from ..registry import find

    entry = find(args.name)
    spec, card = entry.spec, CARDS.get(args.name)
    if args.json:
        print(json.dumps(_record(spec, entry.engines), indent=2))
        return 0
    lines = {
        "takes": _takes(spec),
        "gives": _gives(spec),
        "engines": ", ".join(entry.engines),
        "weights": _weights(spec.name),
        "licence": card.licence if card else "",
        "note": card.note if card else "",
    }
    print(spec.name)
    for file in card.files if card else ():
        lines[file.name] = f"{file.holds} ({file.size}), from {file.repo or file.url}"
    width = max(map(len, lines))
    for label, text in lines.items():
        if text:
            print(textwrap.fill(text, 110, initial_indent=f"  {label:{width}}  ", subsequent_indent=" " * (width + 4)))
    return 0


def _fetch(args: argparse.Namespace) -> int:
    """Download the published weights of a tokenizer once, check them, and print the folder.

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
    if spec.modality == "image":
        return f"a picture, seen at {spec.image_size} x {spec.image_size}"
    channels = "stereo" if spec.channels == 2 else "mono"
    return f"{spec.modality}, {spec.sample_rate} Hz {channels}"


def _gives(spec: Spec) -> str:
    books = f"{spec.num_codebooks} x " if spec.num_codebooks > 1 else ""
    if spec.num_frames is not None:
        return f"{books}{spec.num_frames} codes of {spec.codebook_size}"
    return f"{books}{spec.frame_rate} codes of {spec.codebook_size} a second"


def _weights(name: str) -> str:
    from ..checkpoints.cards import CARDS
    from ..checkpoints.fetch import missing_files

    if name not in CARDS:
        return "with the package"
    sizes = [file.size.removeprefix("about ") for file in missing_files(name) if not file.size.endswith("kB")]
    return f"to be fetched: {' + '.join(sizes)}" if sizes else "here"


def _record(spec: Spec, engines: Any) -> dict[str, Any]:
    from ..checkpoints.cards import CARDS

    card = CARDS.get(spec.name)
    files = [
        {"name": file.name, "size": file.size, "from": file.repo or file.url} for file in (card.files if card else ())
    ]
    return {
        **spec.to_dict(),
        "engines": list(engines),
        "weights": _weights(spec.name),
        "licence": card.licence if card else None,
        "files": files,
    }
