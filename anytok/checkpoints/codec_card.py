"""A codec checkpoint's identity card: the registry's Spec with the sizes and the fingerprint of these weights."""

from __future__ import annotations

import dataclasses

from ..arguments import whole
from ..errors import CheckpointError, UsageError
from ..recipes import with_sound_options
from ..spec import Spec
from .cards import CARDS
from .codec_sizes import CodecSizes
from .seanet import CodecFiles

__all__ = ["codec_card"]


def codec_card(
    spec: Spec,
    files: CodecFiles,
    *,
    num_codebooks: int | None = None,
    bandwidth: float | None = None,
    resampler: str | None = None,
    channels: str | None = None,
    dtype: str = "float32",
) -> Spec:
    """The Spec of these weights under these options, but for the id: see `Tokenizer.identified`. In float64 media are
    prepared in it, too.

    Raises CheckpointError where the files are of another tokenizer than `spec` names (rate, channels,
    activation), UsageError on options that the model cannot serve.
    """
    sizes = files.sizes
    _check_fits(spec, files)
    books = _books(spec, sizes, num_codebooks, bandwidth)
    return dataclasses.replace(
        spec,
        num_codebooks=books,
        codebook_size=sizes.codebook_size,
        frame_rate=sizes.frame_rate,
        segment_samples=sizes.segment_samples,
        segment_stride=sizes.segment_stride,
        preprocessing=with_sound_options(
            spec.preprocessing, channels=channels, resampler=resampler, double=dtype == "float64"
        ),
    )


def _check_fits(spec: Spec, files: CodecFiles) -> None:
    sizes, activation, card = files.sizes, files.sizes.activation.lower(), CARDS.get(spec.name)
    for what, wanted, found in (
        ("a sample rate of {} Hz", spec.sample_rate, sizes.sample_rate),
        ("{} channel(s)", spec.channels, sizes.channels),
        ("the activation {}", card.activation if card and card.activation else activation, activation),
    ):
        if wanted != found:
            raise CheckpointError(
                f"{files.source}: has {what.format(found)}, but {spec.name} has {what.format(wanted)}: "
                "pass the folder of that tokenizer, or load this one under its own name"
            )


def _books(spec: Spec, sizes: CodecSizes, num_codebooks: int | None, bandwidth: float | None) -> int:
    if num_codebooks is not None and bandwidth is not None:
        raise UsageError("num_codebooks and bandwidth say the same thing: give one of them")
    if bandwidth is not None:
        num_codebooks = sizes.codebooks_at(bandwidth)
    if num_codebooks is None:
        return sizes.num_codebooks
    return whole(f"{spec.name}: num_codebooks", num_codebooks, 1, sizes.num_codebooks)
