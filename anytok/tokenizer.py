"""The interface that every tokenizer has, ours or anyone's: media → Codes, Codes → media.

The public methods do what every tokenizer needs: they list and prepare media, check codes, refuse unknown options,
shield the model from the caller's torch settings, and turn autograd off. An engine writes `_encode` and `_decode`,
which see prepared media and checked codes. `anytok.testing` holds it to what this interface promises.
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

from .arguments import choice, iterable, several, whole
from .errors import AnytokError, CodesError, MediaError, UsageError
from .media import Audio, Decoded, Media, prepare_each, try_each
from .media.source import key_of
from .progress import Progress, Reporter, kind_of
from .spec import Codes, Spec

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["Tokenizer"]

# What codes of one tokenizer have in common; the number of codebooks may differ, and a vocabulary's Specs lack others.
_SIZES = ("modality", "codebook_size", "num_frames", "segment_samples")
_TIMES = ("frame_rate", "sample_rate", "channels", "segment_stride")


class Tokenizer(ABC):
    """Media ⇄ codes. `spec` says what goes in and what comes out.

    A subclass has a classmethod `load(spec, checkpoint=None, *, device, dtype, **options)`, which `load_tokenizer`
    calls, and the two methods `_encode` and `_decode`.
    """

    spec: Spec
    dtypes: ClassVar[tuple[str, ...]] = ("float32",)  # what `load` takes
    float32_precision: str = "ieee"  # of products and convolutions on GPUs, or "tf32"; see torch_settings
    total_codebooks: int | None = None  # of the model, where `spec.num_codebooks`, which encode returns, may be fewer
    normalizes_loudness: bool = False  # then codes carry one scale a segment
    _loaded_as: Mapping[str, Any] | None = None  # what `load_tokenizer` was given, as far as it may decide codes
    _load_again: Callable[[], Tokenizer] | None = None  # of our own, where `load_tokenizer` has loaded them

    # What an engine writes

    @classmethod
    def load(
        cls, spec: Spec, checkpoint: str | Path | None = None, *, device: str = "cpu", dtype: str = "float32"
    ) -> Tokenizer:
        """Load the weights. Further keyword parameters are options of `load_tokenizer`, which checks the device, the
        dtype and the names of options before it calls this."""
        raise NotImplementedError(f"{cls.__name__} has no classmethod load")

    @classmethod
    def read_codebooks(cls, spec: Spec, checkpoint: str | Path | None = None) -> np.ndarray:
        """The vectors that codes stand for, float32 `[K, N, D]`, read from the published files without making a model.
        Raises UsageError for a tokenizer without such vectors, and CheckpointError for files that are not its own."""
        raise UsageError(f"{spec.name} names no codebook vectors: its class {cls.__name__} has no read_codebooks")

    @abstractmethod
    def _encode(self, prepared: Iterable[Decoded]) -> list[Codes]:
        """Codes of each item. Items are what `media.prepare` makes of the caller's: RGB images of `spec.image_size`, or
        Audio of `spec.sample_rate` and `spec.channels`. They may be prepared only as they are asked for. Keyword-only
        parameters are the encode options; `margins` asks for `Codes.margins`."""

    @abstractmethod
    def _decode(self, codes: Sequence[Codes]) -> list[Decoded]:
        """Media of each item, at least one, all checked by `check`. Keyword-only parameters are the decode options.
        Audio may be longer than `num_samples`."""

    # What users call

    def encode(self, media: Media, **options: Any) -> Codes:
        """Codes of one item; see `encode_batch`."""
        return self.encode_batch([media], **options)[0]

    @overload
    def encode_batch(
        self, media: Sequence[Media], *, errors: Literal["raise"] = "raise", **options: Any
    ) -> list[Codes]: ...

    @overload
    def encode_batch(self, media: Sequence[Media], *, errors: str, **options: Any) -> list[Any]: ...

    def encode_batch(self, media: Sequence[Media], *, errors: str = "raise", **options: Any) -> list[Any]:
        """Codes of each item, in order; equal, item by item, to `encode`.

        Items are paths, file objects, bytes, PIL images, uint8 arrays `[H, W, 3]`, `anytok.Audio`, (wave, rate) pairs,
        cells of Hugging Face datasets, or tensors, of any lengths and sizes. Raises MediaError naming the first item
        that cannot be used, or MissingExtraError where a package is missing for it. With errors="return" either stands
        in the item's place instead, and the others have their codes. With `margins=True` the native engines' codes have
        `Codes.margins`. Raises UsageError on options that this tokenizer does not have.
        """
        items = several(media, "encode")
        self._check_options("encode", options)
        with self._shielded():
            if choice("errors", errors, ("raise", "return")) == "return":
                return self._encode_or_error(items, options)
            return self._counted(self._encode(prepare_each(items, self.spec), **options), len(items))

    def encode_iter(
        self, media: Iterable[Media], *, batch_size: int = 16, errors: str = "raise", progress: Progress = False,
        **options: Any,
    ) -> Iterator[Any]:
        """`encode_batch` of any iterable, `batch_size` items at a time, taken from it as they are needed: one result
        each, in order. `progress` True reports to stderr, see `anytok.progress`; or it is called with (done, total),
        total None for an iterable without a length. Raises UsageError, at once, on wrong arguments."""
        items = iterable(media, "encode")
        batch_size = whole("batch_size", batch_size, 1)
        choice("errors", errors, ("raise", "return"))
        self._check_options("encode", options)
        kind = "none" if callable(progress) else kind_of(progress)
        total = len(items) if isinstance(items, Sized) else None

        def results() -> Iterator[Any]:
            done, failed, left = 0, 0, iter(items)
            with Reporter("encode", total, kind=kind) as reporter:
                while batch := list(islice(left, batch_size)):
                    for one in self.encode_batch(batch, errors=errors, **options):
                        done, failed = done + 1, failed + (not isinstance(one, Codes))
                        yield one
                    reporter.update(done, failed=failed)
                    if callable(progress):
                        progress(done, total)

        return results()

    def encode_prepared(self, prepared: Sequence[Decoded], **options: Any) -> list[Codes]:
        """`encode_batch` of what `anytok.media.prepare` has made already, maybe in another process."""
        self._check_options("encode", options)
        with self._shielded():
            return self._counted(self._encode(prepared, **options), len(prepared))

    def decode(self, codes: Codes, **options: Any) -> Decoded:
        """Media of one item; see `decode_batch`."""
        return self.decode_batch([codes], **options)[0]

    def decode_batch(self, codes: Sequence[Codes], **options: Any) -> list[Decoded]:
        """Media of each item, in order: PIL images or `anytok.Audio`, cut to `codes.num_samples` where that is known.

        Raises CodesError on foreign codes and UsageError on options that this tokenizer does not have.
        """
        items = several(codes, "decode")
        self._check_options("decode", options)
        for item in items:
            self.check(item)
        if not items:
            return []
        with self._shielded():
            decoded = self._counted(self._decode(items, **options), len(items))
        return [_cut(one, item.num_samples) for one, item in zip(decoded, items, strict=True)]

    def check(self, codes: Codes) -> None:
        """Raise CodesError unless this tokenizer can decode `codes`: they were made by it (same name, same weights), it
        has their codebooks, and there is a loudness scale for each segment where it needs one."""
        if not isinstance(codes, Codes):
            raise CodesError(f"decode got {type(codes).__name__}: expected anytok.Codes, as encode returns them")
        if not self.spec.accepts(codes.spec):
            raise CodesError(
                f"these codes were made by {codes.spec.id}, this tokenizer is {self.spec.id}: "
                f"load the tokenizer that made them"
            )
        # A record from disk can claim any sizes under a right id; what it claims decides where sound is cut.
        for name in _SIZES + _TIMES:
            claimed, ours = getattr(codes.spec, name), getattr(self.spec, name)
            if claimed != ours and (claimed is not None or name in _SIZES):
                raise CodesError(f"codes that claim a {name} of {claimed}; {self.spec.id} has {ours}")
        last, total = codes.first_codebook + codes.num_codebooks, self.total_codebooks or self.spec.num_codebooks
        if last > total:
            raise CodesError(f"codes hold codebooks up to {last}; {self.spec.name} has {total}")
        if self.normalizes_loudness:
            self._check_scales(codes)

    def _check_scales(self, codes: Codes) -> None:
        wanted = len(codes.segment_frames())
        given = "none" if codes.scales is None else len(codes.scales)
        if given != wanted:
            raise CodesError(
                f"{self.spec.name} needs {wanted} loudness scales, one a segment, and the codes have {given}: "
                "keep codes.scales with the codes (scales of 1.0 give every segment unit loudness)"
            )

    def options(self, way: str) -> list[str]:
        """The names of the options of "encode" or "decode"."""
        parameters = inspect.signature(self._encode if way == "encode" else self._decode).parameters.values()
        return [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]

    def _check_options(self, way: str, options: Mapping[str, Any]) -> None:
        known = self.options(way)
        if unknown := sorted(set(options) - set(known)):
            has = f"the {way} options {', '.join(known)}" if known else f"no {way} options"
            raise UsageError(f"{self.spec.name} has {has}; got {', '.join(unknown)}")

    def _encode_or_error(self, items: Sequence[Media], options: Mapping[str, Any]) -> list[Any]:
        """What `encode_batch(…, errors="return")` gives."""
        results: list[Any] = list(try_each(items, self.spec))
        places = [place for place, one in enumerate(results) if not isinstance(one, AnytokError)]
        encoded = self._encode_each([results[place] for place in places], options)
        for place, one in zip(places, encoded, strict=True):
            name = key_of(items[place]) or f"item {place}"
            results[place] = one.with_key(name) if isinstance(one, MediaError) else one
        return results

    def _encode_each(self, prepared: Sequence[Decoded], options: Mapping[str, Any]) -> list[Codes | MediaError]:
        """Codes of each medium, or why the model refuses it, which it says of a whole batch: that is halved then."""
        try:
            return self._counted(self._encode(prepared, **options), len(prepared))
        except MediaError as error:
            if len(prepared) == 1:
                return [error]
        half = len(prepared) // 2
        return self._encode_each(prepared[:half], options) + self._encode_each(prepared[half:], options)

    def _counted(self, results: list[Any], count: int) -> list[Any]:
        """`results`, if there is one for each item: else they would be taken for those of other items."""
        if len(results) != count:
            raise RuntimeError(f"{self!r} gave {len(results)} results for {count} items: a fault of its own")
        return results

    @contextmanager
    def _shielded(self) -> Iterator[None]:
        """Within, torch is told what the model was tested with, whatever the caller has told it, and records nothing
        for autograd. A tokenizer without torch does not load it."""
        if "torch" not in sys.modules:
            yield
            return
        import torch

        from .torch_settings import products

        with torch.inference_mode(), products(self.float32_precision):
            yield

    def to(self, device: Any) -> Tokenizer:
        """This tokenizer, if it is on `device` already. Weights are packed for a device as they are loaded, and nothing
        moves them: raises UsageError saying how to load it there."""
        wanted, there = str(device), (self._loaded_as or {}).get("device", "cpu")
        if {wanted, there} in ({wanted}, {"cuda", "cuda:0"}):
            return self
        raise UsageError(
            f"{self.spec.name} is on {there}, and its weights are packed for it: load it anew, by "
            f"load_tokenizer({self.spec.name!r}, device={wanted!r})"
        )

    @staticmethod
    def identified(spec: Spec, weights: Mapping[str, Tensor], dtype: str = "float32") -> Spec:
        """`spec` with the id `name@hash` of these weights, and `+dtype` behind it where that changes codes."""
        from .checkpoints.read import fingerprint

        suffix = "" if dtype == "float32" else f"+{dtype}"
        return spec.with_id(f"{spec.name}@{fingerprint(weights)}{suffix}")

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled, as data loaders do for their processes, it is what it was loaded with; there it is loaded again."""
        return (self._load_again, ()) if self._load_again else super().__reduce_ex__(protocol)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec.id}>"


def _cut(decoded: Decoded, num_samples: int | None) -> Decoded:
    if isinstance(decoded, Audio) and num_samples is not None and decoded.num_samples > num_samples:
        return Audio(decoded.wave[:, :num_samples], decoded.sample_rate)
    return decoded
