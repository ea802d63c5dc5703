"""The precisions of the native engines, by name."""

from __future__ import annotations

import torch

from ...errors import MediaError, UsageError

__all__ = ["codec_dtypes", "has_half_kernels", "overflow", "products_of", "torch_dtype"]

_DTYPES = {
    "float32": torch.float32, "float64": torch.float64, "tf32": torch.float32, "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}  # fmt: skip
_FOR_GPUS = ("tf32", "float16")


def torch_dtype(dtype: str, device: str) -> torch.dtype:
    """The torch type called `dtype`, float32 for "tf32"; raises UsageError on other names, and on a CPU on those that
    are for GPUs."""
    if dtype not in _DTYPES:
        raise UsageError(f"dtype {dtype!r}; expected one of {', '.join(_DTYPES)}")
    if dtype in _FOR_GPUS and torch.device(device).type == "cpu":
        raise UsageError(f"{dtype} is for GPUs; on a CPU use float32, or bfloat16 if it has kernels for it")
    return _DTYPES[dtype]


def products_of(dtype: str) -> str:
    """How `dtype` has float32 products made; see `torch_settings.products`."""
    return "tf32" if dtype == "tf32" else "ieee"


def codec_dtypes(dtype: str, device: str) -> tuple[torch.dtype, torch.dtype]:
    """The types of a codec's convolutions and of its LSTMs; besides `torch_dtype`'s there is "mixed", which keeps
    the convolutions in float32. The quantizer is float32, of all bits, unless all is float64. Raises UsageError on CPUs
    without kernels for it."""
    if dtype in ("mixed", "bfloat16") and torch.device(device).type == "cpu" and not has_half_kernels():
        raise UsageError(f"dtype {dtype!r}: this CPU has no bfloat16 kernels (AVX-512 or AVX-NE-CONVERT); use float32")
    if dtype == "mixed":
        return torch.float32, torch.bfloat16
    if dtype not in _DTYPES:
        raise UsageError(f"dtype {dtype!r}; expected one of {', '.join(_DTYPES)}, mixed")
    both = torch_dtype(dtype, device)
    return both, both


def has_half_kernels() -> bool:
    """Whether codecs can run in bfloat16 on this CPU."""
    return not torch.backends.mkldnn.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def overflow() -> MediaError:
    """What to raise where latents are not finite: of NaN the search would make code 0, in silence."""
    return MediaError(
        "overflow",
        "the encoder gives NaN or infinity: bring the sound into [-1, 1]; if it is, the weights are damaged, or "
        "overflow in this precision: try dtype='float32'",
    )
