"""The contract that every tokenizer keeps, as pytest classes: ours are held to it, and so can anyone's be.

    from anytok.testing import AudioContract

    class TestMine(AudioContract):
        name, checkpoint = "mine", "path/to/its/folder"

`name` is what `anytok.load_tokenizer` takes; `engine`, `checkpoint` and `options` go to it, too. Needs pytest.
"""

from __future__ import annotations

import pytest

for _module in ("contract", "audio", "image"):  # so that a failed assertion shows both sides
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from .audio import AudioContract as AudioContract  # noqa: E402
from .contract import Contract as Contract  # noqa: E402
from .image import ImageContract as ImageContract  # noqa: E402
from .samples import picture as picture  # noqa: E402
from .samples import sounds as sounds  # noqa: E402
