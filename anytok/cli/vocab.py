"""`vocab`, `vocab show`, `vocab build`: which ids of a shared vocabulary mean what, published or one's own."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import check_folder
from ..errors import UsageError, VocabularyError
from .loading import key_value, say

if TYPE_CHECKING:
    from ..vocab import Segment, Vocabulary

__all__ = ["register", "spelled_out"]

# What may follow the name of a tokenizer in `vocab build`.
_SETTINGS = {
    "num_codebooks": int, "pattern": str, "code": str, "alias": str, "digits": int, "start": str, "end": str,
    "checkpoint": str,
}  # fmt: skip


def register(add: Any) -> None:
    """Add the commands to the parser."""
    vocab = add(_vocab)
    vocab.add_argument("--json", action="store_true", help="one JSON list for scripts")
    under = vocab.add_subparsers(title="commands", metavar="COMMAND", help="without one, the published are listed")
    show = add(_show, under)
    show.add_argument("name", metavar="NAME", help="a published vocabulary, or a file that was saved")
    show.add_argument("--save", metavar="FILE", help="write the layout as JSON")
    show.add_argument("--json", action="store_true", help="the layout as JSON, for scripts")
    build = add(_build, under)
    build.add_argument("name", metavar="NAME", help="what to call it; part of its hash")
    build.add_argument("--text", required=True, metavar="TEXT", help="a Hugging Face tokenizer (folder or hub name), "
                       "or how many ids the text has")  # fmt: skip
    build.add_argument("--special", action="append", dest="items", metavar="TOKEN", help="a special token")
    build.add_argument("--tokenizer", action="append", dest="items", nargs="+", metavar=("NAME", "KEY=VALUE"),
                       help="a tokenizer's codes and markers, with settings (see above)")  # fmt: skip
    build.add_argument("--reserved", type=int, default=0, metavar="N", help="ids to keep free for later (default: 0)")
    build.add_argument("--out", metavar="FILE", help="where to write the layout (default: NAME.json)")
    build.add_argument("--force", action="store_true", help="replace a file that exists")
    build.add_argument("--json", action="store_true", help="one JSON object for scripts")


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """`vocab NAME` is short for `vocab show NAME`, wherever its options stand."""
    words = list(arguments)
    names = [word for word in words[1:] if not word.startswith("-")]
    if words[:1] != ["vocab"] or not names or names[0] in ("show", "build"):
        return words
    return ["vocab", "show", *words[1:]]


def _vocab(args: argparse.Namespace) -> int:
    """List the published vocabularies; show one, or build your own.

    Example:
      anytok vocab
    """
    from ..vocab import LAYOUTS, load_vocabulary

    vocabularies = [load_vocabulary(name) for name in LAYOUTS]
    if args.json:
        print(json.dumps([_record(vocabulary) for vocabulary in vocabularies], indent=2))
        return 0
    for vocabulary in vocabularies:
        speaks = ", ".join(segment.tokenizer for segment in vocabulary.layout.segments)
        print(f"{vocabulary.name:12} {vocabulary.layout.total:>6} ids  {vocabulary.hash[:12]}  text, {speaks}")
    return 0


def _show(args: argparse.Namespace) -> int:
    """Show which ids of a shared vocabulary mean what; `anytok vocab NAME` for short.

    Example:
      anytok vocab show anygpt
    """
    from ..vocab import load_vocabulary

    vocabulary = load_vocabulary(args.name)
    print(vocabulary.to_json() if args.json else vocabulary.table() + "\n", end="")
    if args.save:
        if Path(args.save).exists():
            raise UsageError(f"{args.save}: exists already; choose another name")
        _save(vocabulary, Path(args.save))
    return 0


def _build(args: argparse.Namespace) -> int:
    """Lay out a vocabulary of your own as a file with a hash: any text tokenizer, any tokenizers, in any order.

    Behind the text, ids go by the order of --special and --tokenizer. After a tokenizer's name may stand
      num_codebooks=1        write its first layers only
      pattern=layer-major    layer after layer; else frame-major, frame after frame
      start='<sosp>' end='<eosp>' code='<🗣{}>' alias='<s{}>' digits=5     how markers and codes are spelled
      checkpoint=FOLDER      weights to pin: codes of others are refused

    The same command always writes the same bytes; where FILE exists, it is compared.

    Example:
      anytok vocab build mine --text 32000 --tokenizer seed-2 --tokenizer speechtokenizer num_codebooks=1 --reserved 16
    """
    from ..checkpoints.around_torchaudio import load_text_tokenizer
    from ..vocab import build_vocabulary

    if not args.name:
        raise UsageError("a vocabulary without a name: expected NAME, such as mine")
    if args.reserved < 0:
        raise UsageError(f"--reserved {args.reserved}: expected 0 or more")
    text = int(args.text) if args.text.isdecimal() else load_text_tokenizer(args.text)
    try:
        items = [item if isinstance(item, str) else _segment(*item) for item in args.items or ()]
        vocabulary = build_vocabulary(args.name, text, items, reserved=args.reserved)
    except VocabularyError as error:  # all that there is to lay out stands on the command line
        raise UsageError(str(error)) from error
    path = Path(args.out or f"{args.name}.json")
    if not path.exists() or args.force:
        _save(vocabulary, path)
    elif path.is_file() and path.read_bytes() == vocabulary.to_json().encode():
        say(f"{path} is there already, byte for byte")
    else:
        raise UsageError(f"{path}: exists already and is not this vocabulary; choose another --out, or --force")
    print(json.dumps({**_record(vocabulary), "file": str(path)}, indent=2) if args.json else vocabulary.table())
    return 0


def _segment(name: str, *pairs: str) -> Segment:
    """`speechtokenizer`, `num_codebooks=1`, … → a segment, not placed yet."""
    from ..registry import find, load_tokenizer
    from ..vocab import segment_of

    settings: dict[str, Any] = {}
    for key, value in map(key_value, pairs):
        if key not in _SETTINGS:
            raise UsageError(f"{name}: no setting is called {key!r}; known: {', '.join(_SETTINGS)}")
        try:
            settings[key] = _SETTINGS[key](value)
        except ValueError:
            raise UsageError(f"{name}: {key}={value}: expected a number") from None
    checkpoint, alias = settings.pop("checkpoint", None), settings.pop("alias", None)
    spec = load_tokenizer(name, checkpoint=checkpoint).spec if checkpoint else find(name).spec
    return segment_of(spec, aliases=(alias,) if alias else (), **settings)


def _save(vocabulary: Vocabulary, path: Path) -> None:
    if not path.parent.is_dir():
        raise UsageError(f"{path}: no folder {path.parent}; make it first")
    check_folder(path.parent)
    vocabulary.save(path)
    say(f"saved as {path}")


def _record(vocabulary: Vocabulary) -> dict[str, Any]:
    layout = vocabulary.layout
    speaks = [segment.tokenizer for segment in layout.segments]
    return {
        "name": layout.name,
        "hash": layout.hash,
        "text_size": layout.text_size,
        "total": layout.total,
        "dtype": str(vocabulary.dtype),
        "tokenizers": speaks,
    }
