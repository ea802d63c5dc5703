"""`decode`: what `encode` or `run` wrote → pictures and recordings."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..arguments import check_folder, did_you_mean
from ..errors import CodesError, UsageError
from .loading import add_loading, fetch_missing, key_values, load, say

if TYPE_CHECKING:
    from ..spec import Codes, Spec
    from ..tokenizer import Tokenizer

__all__ = ["register"]

_NAME_BYTES = 100  # of a file's name


def register(add: Any) -> None:
    """Add the command to the parser."""
    decode = add(_decode)
    decode.add_argument(
        "codes",
        metavar="CODES.JSONL|OUT",
        help="what `anytok encode` wrote, - for stdin; or the output of `anytok run`",
    )
    decode.add_argument(
        "--key",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only these items: by their source in the lines, by their key in a job's output",
    )
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

    The tokenizer is the one that each line names. Of a job's output, whatever its kind, media are named after their
    keys; where it keeps ids alone, they come back in the layers that the vocabulary writes.

    Example:
      anytok decode codes.jsonl --out decoded
      anytok decode tokens/ --key 0/hello.wav 0/world.flac
      anytok decode - --out decoded
      anytok decode speech.jsonl --voice-prompt me.wav
    """
    from tqdm import tqdm

    options = key_values(args.decode_option, taken=("self", "codes"))
    heads, found, checkpoints = _job(args) if Path(args.codes).is_dir() else _lines(args)
    names = sorted({spec.name for _, spec in heads})
    if args.checkpoint and len(names) > 1:
        raise UsageError(f"{args.codes} holds codes of {', '.join(names)}: --checkpoint fits one tokenizer only")
    check_folder(args.out)
    targets = _targets(heads, Path(args.out), args.force)
    tokenizers = {name: load(name, _with_checkpoint(args, checkpoints.get(name)), decodes=True) for name in names}
    spoken = _with_voice(args, tokenizers)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    for codes, target in tqdm(zip(found, targets, strict=True), "decode", len(targets), unit="item", disable=None):
        codes = spoken(codes)
        tokenizers[codes.spec.name].decode(codes, **options).save(target)
        print(target)
    say(f"{len(targets)} items decoded into {args.out}")
    return 0


# Label and Spec of each item; their Codes; and checkpoints of some tokenizers, by name.
Given: TypeAlias = tuple[list[tuple[str, "Spec"]], Iterable["Codes"], Mapping[str, str | None]]


def _lines(args: argparse.Namespace) -> Given:
    """The items of a file of lines, or of stdin."""
    items = _read(args.codes)
    if unknown := [key for key in args.key if key not in {source for source, _ in items}]:
        known = [source for source, _ in items]
        raise UsageError(f"{args.codes}: no line has the source {unknown[0]!r}{did_you_mean(unknown[0], known)}")
    items = [(source, codes) for source, codes in items if not args.key or source in args.key]
    return [(_stem(source), codes.spec) for source, codes in items], [codes for _, codes in items], {}


def _job(args: argparse.Namespace) -> Given:
    """The items of a job's output; its own weights are theirs."""
    from ..jobs import JobCodes

    written = JobCodes(args.codes, args.key)
    if not (args.key or written.is_whole):
        say(f"{args.codes} is not finished: the {len(written)} items that are done are decoded")
    checkpoints = {one.name: one.checkpoint for one in written.config.tokenizers.values()}
    heads = [(_without_suffix(key), spec) for key, spec in written.heads]
    return heads, (codes for _, codes in written), checkpoints


def _with_checkpoint(args: argparse.Namespace, checkpoint: str | None) -> argparse.Namespace:
    """The options with this checkpoint, where they name none."""
    return argparse.Namespace(**{**vars(args), "checkpoint": args.checkpoint or checkpoint})


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


def _read(name: str) -> list[tuple[str, Codes]]:
    """(source, codes) of every line of a file; "-" is stdin."""
    from ..spec import Codes

    if name != "-" and not Path(name).is_file():
        raise UsageError(
            f"{name}: no such file or folder; expected the lines that `anytok encode` writes, or a job's output"
        )
    if name == "-" and sys.stdin is None:
        raise UsageError("stdin is closed, and - stands for it: name a file, or a job's output")
    label = "stdin" if name == "-" else name
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        lines = data.decode("utf-8").split("\n")  # splitlines would also split at U+2028 in a name
    except UnicodeDecodeError as error:
        raise CodesError(f"{label}: not text; expected the lines that `anytok encode` writes") from error
    items = []
    for number, line in enumerate(lines[:-1] if not lines[-1] else lines, 1):
        try:
            record = json.loads(line)
            source = str(record.pop("source", f"item-{number}"))
            items.append((source, Codes.from_dict(record)))
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise CodesError(f"{label}, line {number}: {error}") from error
    if not items:
        raise CodesError(f"{label}: holds no codes")
    return items


def _stem(source: str) -> str:
    """The last part of a path, without its suffix."""
    return Path(source).stem


def _without_suffix(key: str) -> str:
    """A key without the suffix of its medium; its folders tell it from others."""
    from ..media.formats import kind_of

    stem, suffix = os.path.splitext(key)
    return stem if kind_of(suffix.lower()) else key


def _targets(heads: Sequence[tuple[str, Spec]], folder: Path, force: bool) -> list[Path]:
    """A file name for each label; refuses to replace what is there."""
    targets: list[Path] = []
    taken: set[str] = set()
    for label, spec in heads:
        # A label is written by anyone, so only letters, digits and the like are kept of it.
        stem = re.sub(r"[^\w-]+", "_", label).strip("_")
        stem = stem.encode()[-_NAME_BYTES:].decode(errors="ignore") or "item"
        suffix, number = ".png" if spec.is_image else ".wav", 1
        name = stem + suffix
        while name.lower() in taken:
            number += 1
            name = f"{stem}-{number}{suffix}"
        taken.add(name.lower())
        target = folder / name
        if target.exists() and not force:
            raise UsageError(f"{target}: exists already; choose another --out, or --force replaces it")
        targets.append(target)
    return targets
