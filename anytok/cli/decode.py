"""`decode`: the lines that `encode` wrote → pictures and recordings."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CodesError, UsageError
from .loading import add_loading, key_values, load, say

if TYPE_CHECKING:
    from ..spec import Codes

__all__ = ["register"]

_NAME_BYTES = 100  # of a file's name


def register(add: Any) -> None:
    """Add the command to the parser."""
    decode = add(_decode)
    decode.add_argument("codes", metavar="CODES.JSONL", help="what `anytok encode` wrote")
    decode.add_argument("--out", default="decoded", metavar="DIR", help="folder for the media (default: decoded)")
    decode.add_argument("--force", action="store_true", help="replace files that exist")
    decode.add_argument(
        "--decode-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of decoding, such as seeds=1 for pictures; may be repeated",
    )
    add_loading(decode, checkpoint_help="folder with the weights that made the codes; without it they are fetched once")


def _decode(args: argparse.Namespace) -> int:
    """Turn codes back into media: pictures as png, sound as wav, named after their source.

    The tokenizer is the one that each line names.

    Example:
      anytok decode codes.jsonl --out decoded
    """
    from tqdm import tqdm

    items = _read(Path(args.codes))
    options = key_values(args.decode_option, taken=("self", "codes"))
    names = sorted({codes.spec.name for _, codes in items})
    if args.checkpoint and len(names) > 1:
        raise UsageError(f"{args.codes} holds codes of {', '.join(names)}: --checkpoint fits one tokenizer only")
    if Path(args.out).exists() and not Path(args.out).is_dir():
        raise UsageError(f"{args.out}: not a folder; choose another --out")
    targets = _targets(items, Path(args.out), args.force)
    tokenizers = {name: load(name, args, decodes=True) for name in names}
    Path(args.out).mkdir(parents=True, exist_ok=True)
    for (_, codes), target in tqdm(list(zip(items, targets, strict=True)), desc="decode", unit="item", disable=None):
        tokenizers[codes.spec.name].decode(codes, **options).save(target)
        print(target)
    say(f"{len(items)} items decoded into {args.out}")
    return 0


def _read(path: Path) -> list[tuple[str, Codes]]:
    """(source, codes) of every line."""
    from ..spec import Codes

    if not path.is_file():
        raise UsageError(f"{path}: no such file; expected the lines that `anytok encode` writes")
    try:
        with path.open(encoding="utf-8", newline="\n") as stream:  # splitlines would also split at U+2028 in a name
            lines = stream.readlines()
    except UnicodeDecodeError as error:
        raise CodesError(f"{path}: not text; expected the lines that `anytok encode` writes") from error
    items = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            source = str(record.pop("source", f"item-{number}"))
            items.append((source, Codes.from_dict(record)))
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise CodesError(f"{path}, line {number}: {error}") from error
    if not items:
        raise CodesError(f"{path}: holds no codes")
    return items


def _targets(items: list[tuple[str, Codes]], folder: Path, force: bool) -> list[Path]:
    """A file name for each item; refuses to replace what is there."""
    targets: list[Path] = []
    taken: set[str] = set()
    for source, codes in items:
        # The source is a label written by anyone, so only letters, digits and the like of its last part are kept.
        stem = re.sub(r"[^\w-]+", "_", Path(source).stem).strip("_")
        stem = stem.encode()[:_NAME_BYTES].decode(errors="ignore") or "item"
        number, name = 1, stem
        while name.lower() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        target = folder / (name + (".png" if codes.spec.is_image else ".wav"))
        if target.exists() and not force:
            raise UsageError(f"{target}: exists already; choose another --out, or --force replaces it")
        targets.append(target)
    return targets
