"""What some tests need of the machine."""

import pytest

from anytok import kernels
from anytok.engines.native.precision import has_half_kernels

half_kernels = pytest.mark.skipif(
    not has_half_kernels(), reason="no bfloat16 kernels on this CPU: codecs refuse it, which is tested instead"
)


def builds(*names: str) -> list[object]:
    """Parameters: the builds of those names, by default all; what cannot serve here is skipped with the reason."""
    return [
        pytest.param(name, marks=pytest.mark.skipif(why is not None, reason=f"no {name} kernels: {why}"))
        for name in names or kernels.BUILDS
        for why in [kernels.why_not(name)]
    ]


COMPILED = [name for name in kernels.BUILDS if name != "portable"]
