"""What torch is told while a tokenizer works, whatever the caller has told it.

Training loops set autocast, a default device and type, and a lower precision for float32 products. Each would change
codes in silence, or have our kernels read memory as what it is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Condition, Lock, local
from typing import Any, cast

import torch

__all__ = ["full_float32", "products", "shielded", "skeleton"]

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
    """`products("ieee")`: what exactness needs."""
    with products("ieee"):
        yield


@contextmanager
def products(precision: str) -> Iterator[None]:
    """`shielded`, and on GPUs float32 products are "ieee", of all 24 bits, or "tf32", of inputs rounded to 11 bits;
    they use the same algorithm every time.

    By default cuDNN rounds the inputs of convolutions and LSTMs to TF32, and with
    `torch.set_float32_matmul_precision` other products follow, to bfloat16's 8 bits on some CPUs. Lower precisions are
    not affected. These settings are the whole process's: while threads are within, one that needs the other precision
    waits; then the caller's settings come back. Within one another, the inner holds.
    """
    with shielded(), _products.made(precision):
        yield


class _Products:
    """Entered by many threads at a time: set by the first, taken back by the last."""

    def __init__(self) -> None:
        self._changed, self._mine = Condition(), local()
        self._threads, self._precision, self._before = 0, "", ExitStack()

    @contextmanager
    def made(self, precision: str) -> Iterator[None]:
        outer = getattr(self._mine, "precision", "")
        if outer == precision:
            yield
            return
        self._leave()  # before waiting, so that nobody waits for one who waits
        try:
            self._enter(precision)
            yield
        finally:
            self._leave()
            if outer:
                self._enter(outer)

    def _enter(self, precision: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._threads or self._precision == precision)
            if not self._threads:
                with ExitStack() as before:  # which brings back what was set, should the rest be refused
                    _set(precision, before)
                    self._before = before.pop_all()
            self._threads += 1
            self._precision = self._mine.precision = precision

    def _leave(self) -> None:
        """If this thread is within: who was interrupted while it waited is not."""
        with self._changed:
            if not getattr(self._mine, "precision", ""):
                return
            self._mine.precision = ""
            self._threads -= 1
            if not self._threads:
                self._before.close()
                self._changed.notify_all()


def _set(precision: str, before: ExitStack) -> None:
    cudnn, mkldnn = torch.backends.cudnn, cast(Any, torch.backends.mkldnn)
    wanted = [(torch.backends.cuda.matmul, "fp32_precision", precision)]
    wanted += [(one, "fp32_precision", "ieee") for one in (mkldnn.matmul, mkldnn.conv, mkldnn.rnn)]
    # Without oneDNN and flash attention torch computes the same by other algorithms, which round otherwise.
    for owner, name, value in (*wanted, (mkldnn, "enabled", True)):
        before.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)
    before.callback(torch.backends.cuda.enable_flash_sdp, torch.backends.cuda.flash_sdp_enabled())
    torch.backends.cuda.enable_flash_sdp(True)
    rounded = precision == "tf32"
    before.enter_context(
        cudnn.flags(enabled=cudnn.enabled, deterministic=True, allow_tf32=rounded, fp32_precision=precision)
    )


_products = _Products()
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
