"""What some tests need of the machine."""

import pytest
import torch

from anytok.engines.native import kernels
from anytok.engines.native.packed import can_pack
from anytok.engines.native.precision import has_half_kernels

half_kernels = pytest.mark.skipif(
    not has_half_kernels(), reason="no bfloat16 kernels on this CPU: codecs refuse it, which is tested instead"
)
compiled_only = pytest.mark.skipif(kernels.missing() is not None, reason=f"no kernels: {kernels.missing()}")
packed_only = pytest.mark.skipif(not can_pack(torch.device("cpu")), reason="this CPU has no oneDNN to pack for")
