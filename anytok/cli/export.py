"""`export`: a tokenizer as ONNX files."""

from __future__ import annotations

import argparse
from typing import Any

from .loading import fetch_missing, say

__all__ = ["register"]


def register(add: Any) -> None:
    """Add the command to the parser."""
    export = add(_export)
    export.add_argument("name", metavar="NAME", help="a built-in tokenizer, as `anytok list` calls it")
    export.add_argument("out", metavar="OUT", help="a new folder")
    export.add_argument("--checkpoint", metavar="PATH", help="folder with the published files (default: fetched once)")
    export.add_argument("--dtype", default="float32", help="float32, or float16: half the size; some codes may differ")
    export.add_argument("--num-codebooks", type=int, metavar="N", help="the first N codebooks only")
    export.add_argument(
        "--sample", action="append", default=[], metavar="FILE", help="try the export on this file; may be repeated"
    )


def _export(args: argparse.Namespace) -> int:
    """Write a tokenizer as encoder.onnx, decoder.onnx and card.json, and try them in ONNX Runtime.

    The codes of the exported files are compared with the tokenizer's own, on samples of ours or on files of yours.

    Example:
      anytok export speech-mini speech-onnx
    """
    from ..export import export_onnx
    from ..export.samples import samples_for

    if args.checkpoint is None:
        fetch_missing(args.name, "--checkpoint", optional=False)
    result = export_onnx(
        args.name,
        args.out,
        args.sample or samples_for(args.name),
        checkpoint=args.checkpoint,
        dtype=args.dtype,
        num_codebooks=args.num_codebooks,
    )
    for one in result.samples:
        print(f"{one.item}: {one.equal} of {one.codes} codes equal; decoded to within {one.decode_error:.0e}")
        if one.margins:
            least = ", ".join(f"{margin:.0e}" for margin in one.margins[:5])
            print(f"  {len(one.margins)} frames differ, at relative margins of {least}{', …' * (len(one.margins) > 5)}")
    say(f"{', '.join(result.files)} written into {result.folder}")
    return 0
