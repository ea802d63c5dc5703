"""What some tests need of the machine."""

import pytest

from anytok.engines.native import kernels
from anytok.engines.native.precision import has_half_kernels

half_kernels = pytest.mark.skipif(
    not has_half_kernels(), reason="no bfloat16 kernels on this CPU: codecs refuse it, which is tested instead"
)
compiled_only = pytest.mark.skipif(kernels.missing() is not None, reason=f"no kernels: {kernels.missing()}")
