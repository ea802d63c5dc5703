"""transformers and diffusers load where a broken torchaudio is installed, even the parts that load late."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BEFORE = "import transformers.utils.import_utils as seen; seen.is_torchaudio_available()"


@pytest.mark.reference
@pytest.mark.parametrize("before", ["", BEFORE], ids=["fresh", "seen before"])
def test_a_broken_torchaudio_is_passed_by(tmp_path: Path, before: str) -> None:
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text("raise OSError('made for another torch')")
    (tmp_path / "torchaudio-2.11.0.dist-info").mkdir()
    (tmp_path / "torchaudio-2.11.0.dist-info" / "METADATA").write_text("Name: torchaudio\nVersion: 2.11.0\n")
    lines = [
        "import torch",
        before,
        "from anytok.checkpoints.around_torchaudio import around_torchaudio",
        "with around_torchaudio():",
        "    import diffusers",
        "diffusers.UNet2DConditionModel",
        "try:",
        "    import torchaudio",
        "except OSError:",
        "    print('as before')",
    ]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "as before"
