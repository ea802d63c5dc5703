"""The interface that every tokenizer has, ours or anyone's: media → Codes, Codes → media."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from .errors import CodesError
from .media import Decoded, Media
from .spec import Codes, Spec

__all__ = ["Tokenizer"]

# What codes of one tokenizer have in common; the number of codebooks may differ, and a vocabulary's Specs lack others.
_SIZES = ("modality", "codebook_size", "num_frames", "segment_samples")
_TIMES = ("frame_rate", "sample_rate", "channels", "segment_stride")


class Tokenizer(ABC):
    """Media ⇄ codes. `spec` says what goes in and what comes out.

    Engines implement the two batch methods; one item is a batch of one, so there is a single path.
    """

    spec: Spec
    _load_again: Callable[[], Tokenizer] | None = None  # of our own, where `load_tokenizer` has loaded them

    @abstractmethod
    def encode_batch(self, media: Sequence[Media]) -> list[Codes]:
        """Codes of each item, in order; equal, item by item, to `encode`.

        Items are paths, file objects, bytes, PIL images, uint8 arrays `[H, W, 3]` or `anytok.Audio`, of any
        lengths and sizes. Raises MediaError naming the first item that cannot be used.
        """

    @abstractmethod
    def decode_batch(self, codes: Sequence[Codes], **options: Any) -> list[Decoded]:
        """Media of each item, in order: PIL images or `anytok.Audio`. Raises CodesError on foreign codes."""

    def encode(self, media: Media) -> Codes:
        """Codes of one item; see `encode_batch`."""
        return self.encode_batch([media])[0]

    def decode(self, codes: Codes, **options: Any) -> Decoded:
        """Media of one item; see `decode_batch`. Audio is cut to `codes.num_samples` where that is known."""
        return self.decode_batch([codes], **options)[0]

    def check(self, codes: Codes) -> None:
        """Raise CodesError unless `codes` were made by this tokenizer (same name, same weights)."""
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

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled, as data loaders do for their processes, it is what it was loaded with; there it is loaded again."""
        return (self._load_again, ()) if self._load_again else super().__reduce_ex__(protocol)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec.id}>"
