"""What torch is told while a tokenizer works, whatever the caller has told it.

Training loops set autocast, a default device and type, and a lower precision for float32 products. Each would change
codes in silence, or have our kernels read memory as what it is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Any, cast

import torch

__all__ = ["full_float32", "shielded", "skeleton"]

_KINDS = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def shielded() -> Iterator[None]:
    """Within, in this thread: no autocast, and new tensors lie on the CPU unless another device is named."""
    with ExitStack() as settings:
        for kind in _KINDS:
            if torch.is_autocast_enabled(kind):
                settings.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            settings.enter_context(torch.device("cpu"))
        yield


@contextmanager
def full_float32() -> Iterator[None]:
    """The same, and float32 products use all 24 bits, and the same algorithm every time.

    By default cuDNN rounds the inputs of convolutions and LSTMs to TF32's 11 bits, and with
    `torch.set_float32_matmul_precision` other products follow, to bfloat16's 8 on some CPUs. Lower precisions are not
    affected. These settings are the whole process's, while any thread is within; then the caller's come back.
    """
    with shielded(), _precise:
        yield


class _Precise:
    """Entered by many threads at a time: set by the first, taken back by the last."""

    def __init__(self) -> None:
        self._lock, self._threads, self._before = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._threads:
                with ExitStack() as before:  # which brings back what was set, should the rest be refused
                    self._set(before)
                    self._before = before.pop_all()
            self._threads += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._before.close()

    def _set(self, before: ExitStack) -> None:
        cudnn, mkldnn = torch.backends.cudnn, cast(Any, torch.backends.mkldnn)
        products = (torch.backends.cuda.matmul, mkldnn.matmul, mkldnn.conv, mkldnn.rnn)
        # Without oneDNN and flash attention torch computes the same by other algorithms, which round otherwise.
        for owner, name, value in (*((one, "fp32_precision", "ieee") for one in products), (mkldnn, "enabled", True)):
            before.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        before.callback(torch.backends.cuda.enable_flash_sdp, torch.backends.cuda.flash_sdp_enabled())
        torch.backends.cuda.enable_flash_sdp(True)
        before.enter_context(
            cudnn.flags(enabled=cudnn.enabled, deterministic=True, allow_tf32=False, fp32_precision="ieee")
        )


_precise = _Precise()
_making = Lock()


@contextmanager
def skeleton() -> Iterator[None]:
    """Modules made within have no memory yet, and are float32 but where they say otherwise.

    The default type is the whole process's; it is another for as long as this takes, some milliseconds.
    """
    with _making:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            with torch.device("meta"):
                yield
        finally:
            torch.set_default_dtype(before)
