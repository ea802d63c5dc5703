"""`decode`: the lines that `encode` wrote → pictures and recordings."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import check_folder
from ..errors import CodesError, UsageError
from .loading import add_loading, fetch_missing, key_values, load, say

if TYPE_CHECKING:
    from ..spec import Codes
    from ..tokenizer import Tokenizer

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
    voice = decode.add_argument_group("a voice for speech, of which layer 1 is taken and the others are filled in")
    voice.add_argument(
        "--voice-prompt", metavar="FILE", help="a recording of whom it is to sound like, of some seconds"
    )
    voice.add_argument("--voice", metavar="NAME", help="the model (default with a prompt: the one for these codes)")
    voice.add_argument("--voice-checkpoint", metavar="PATH", help="its published file; without it it is fetched once")
    add_loading(decode, checkpoint_help="folder with the weights that made the codes; without it they are fetched once")


def _decode(args: argparse.Namespace) -> int:
    """Turn codes back into media: pictures as png, sound as wav, named after their source.

    The tokenizer is the one that each line names.

    Example:
      anytok decode codes.jsonl --out decoded
      anytok decode speech.jsonl --voice-prompt me.wav
    """
    from tqdm import tqdm

    items = _read(Path(args.codes))
    options = key_values(args.decode_option, taken=("self", "codes"))
    names = sorted({codes.spec.name for _, codes in items})
    if args.checkpoint and len(names) > 1:
        raise UsageError(f"{args.codes} holds codes of {', '.join(names)}: --checkpoint fits one tokenizer only")
    if Path(args.out).exists() and not Path(args.out).is_dir():
        raise UsageError(f"{args.out}: not a folder; choose another --out")
    check_folder(args.out)
    targets = _targets(items, Path(args.out), args.force)
    tokenizers = {name: load(name, args, decodes=True) for name in names}
    spoken = _with_voice(args, tokenizers)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    for (_, codes), target in tqdm(list(zip(items, targets, strict=True)), desc="decode", unit="item", disable=None):
        codes = spoken(codes)
        tokenizers[codes.spec.name].decode(codes, **options).save(target)
        print(target)
    say(f"{len(items)} items decoded into {args.out}")
    return 0


def _with_voice(args: argparse.Namespace, tokenizers: Mapping[str, Tokenizer]) -> Callable[[Codes], Codes]:
    """What gives codes of speech the voice that the options name, if they name one; others it leaves as they are."""
    from ..catalogue import VOICES
    from ..registry import load_voice, speech_of

    if not (args.voice or args.voice_prompt or args.voice_checkpoint):
        return lambda codes: codes
    wanted = [args.voice] if args.voice else [name for name in VOICES if VOICES[name] in tokenizers]
    if not wanted or speech_of(wanted[0]) not in tokenizers:
        known = ", ".join(f"{voice} ({speech})" for voice, speech in VOICES.items())
        raise UsageError(f"a voice for codes of {', '.join(tokenizers)}: expected speech; voices are {known}")
    name, speech = wanted[0], tokenizers[speech_of(wanted[0])]
    if args.voice_checkpoint is None:
        fetch_missing(name, "--voice-checkpoint")
    checkpoint = args.voice_checkpoint
    voice = load_voice(name, speech=speech, checkpoint=checkpoint, device=args.device, dtype=args.dtype)
    prompt = voice.encode_prompt(args.voice_prompt) if args.voice_prompt else None
    say(f"{voice.id} speaks" + (f" as in {args.voice_prompt}" if prompt else ", as nobody in particular"))

    def spoken(codes: Codes) -> Codes:
        return voice.fill(codes.layers(0, 1), prompt) if codes.spec.name == speech.spec.name else codes

    return spoken


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
