"""What `anytok doctor` looks at. Each look is a function that answers, or raises and is reported."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

__all__ = ["EXTRAS", "Finding", "examine"]

# Every extra but `test`, its packages, and what each is for; a test holds it against pyproject.toml.
EXTRAS = {
    "media": {"av": "m4a, mp4, webm", "soxr": "the soxr resampler", "pillow-heif": "HEIC"},
    "hf": {
        "transformers": "text tokenizers and language models", "tokenizers": "their ids", "accelerate": "Trainer",
        "jinja2": "chat templates",
    },
    "ray": {"ray": "jobs on a cluster"},
    "memory": {"mem0ai": "a memory of media"},
    "export": {"onnx": "ONNX files", "onnxscript": "their graphs", "onnxruntime": "trying them"},
    "eval": {"pystoi": "STOI"},
    "lhotse": {"lhotse": "the reader of the output lhotse"},
    "energon": {"megatron-energon": "a reader of the output webdataset"},
    "reference": {
        "encodec": "EnCodec", "speechtokenizer": "SpeechTokenizer", "transformers": "EnCodec's other form, and SEED",
        "einops": "SpeechTokenizer",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `ok` is False where something will not work, None where an extra is not there."""

    what: str
    ok: bool | None
    said: str


def examine() -> list[Finding]:
    """All looks, each on its own: one that fails does not hide the others."""
    looks: dict[str, Callable[[], tuple[bool | None, str]]] = {
        "python": lambda: (sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.platform()}"),
        "torch": _torch,
        "threads": _threads,
        "kernels": _kernels,
        "batches": _batches,
        "torchaudio": _torchaudio,
        **{extra: partial(_extra, extra, packages) for extra, packages in EXTRAS.items()},
        "cache": _cache,
    }
    findings = []
    for what, look in looks.items():
        try:
            findings.append(Finding(what, *look()))
        except Exception as error:  # the point of a doctor
            findings.append(Finding(what, False, f"{type(error).__name__}: {error}"))
    return findings


def _torch() -> tuple[bool, str]:
    import torch

    from ..engines.native.precision import has_half_kernels

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    devices = ", ".join(gpus) if gpus else "no GPU (device='cpu')"
    half = "" if has_half_kernels() else "; no bfloat16 kernels on this CPU: codecs refuse it, pictures take longer"
    return True, f"{torch.__version__}, {torch.get_num_threads()} threads, {devices}{half}"


def _threads() -> tuple[bool, str]:
    import torch

    from ..openmp import described

    return True, f"{torch.get_num_threads()} of OpenMP, which {described()}; in Python, set it before torch is imported"


def _kernels() -> tuple[bool, str]:
    """Which build serves, and why none better does: what ANYTOK_KERNELS names, or the best that there is here."""
    from .. import kernels

    build = kernels.current().name
    why = next((f" ({better}: {why})" for better in kernels.BUILDS if (why := kernels.why_not(better))), "")
    if forced := os.environ.get(kernels.VARIABLE):
        why = f" ({kernels.VARIABLE}={forced})"
    if build != "portable":
        return True, f"the {build} build of anytok's own{why}"
    return True, f"portable, in plain torch{why}: codecs on the CPU give the same codes, and take several times as long"


def _batches() -> tuple[bool, str]:
    """The promise that hangs on torch and the CPU, tried out."""
    import torch

    from ..engines.native.precision import has_half_kernels
    from ..kernels.selfcheck import unsteady

    dtypes = [torch.float32, torch.bfloat16] if has_half_kernels() else [torch.float32]
    changing = [f"{layer} in {str(dtype).removeprefix('torch.')}" for dtype in dtypes for layer in unsteady(dtype)]
    if not changing:
        return True, "on this CPU an item has the same bits alone, in any batch, and on any number of threads"
    return False, (
        f"torch {torch.__version__} on this CPU: codes may change with the batch or the number of threads. Use torch "
        f"2.12 or newer, or tell anytok's authors. Seen in: {'; '.join(changing)}"
    )


def _torchaudio() -> tuple[bool, str]:
    """In another process: importing a broken one may take this one down."""
    if find_spec("torchaudio") is None:
        return True, "not installed, and not needed"
    done = subprocess.run([sys.executable, "-c", "import torchaudio"], capture_output=True, text=True)
    if done.returncode == 0:
        return True, f"{version('torchaudio')}, not needed"
    return True, f"{version('torchaudio')} does not load beside this torch; anytok works around it, others may not"


def _extra(extra: str, packages: dict[str, str]) -> tuple[bool | None, str]:
    """An absent extra is no fault, and not in order either: it is named with what it would bring."""
    said, absent = [], []
    for package, purpose in packages.items():
        try:
            said.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            absent.append(f"{package} ({purpose})")
    if absent:
        said.append(f"not installed: {', '.join(absent)}; pip install 'anytok[{extra}]'")
    return None if absent else True, "; ".join(said)


def _cache() -> tuple[bool, str]:
    from huggingface_hub.constants import HF_HOME

    place = Path(HF_HOME)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    return free > 10**9, f"{HF_HOME}, {free / 1e9:.0f} GB free"
