"""Compiles anytok's kernels into the wheel, once for each kind of CPU.

Without a compiler the wheel has none, and anytok works without them, only slower; `anytok doctor` says which it is.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER, SOURCES = "anytok/kernels", "csrc/*.c"
COMPILE = ["-c", "-std=gnu11", "-O3", "-fwrapv", "-ffp-contract=fast", "-fopenmp", "-fPIC"]
# Not with OpenMP: its functions are found in the copy that torch has loaded, and so the threads are torch's.
LINK = ["-shared"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]
AVX512BF16 = [*AVX512, "-mavx512bf16"]
KINDS = {
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "avx512": AVX512,
    "avx512bf16": AVX512BF16,
    "amx": [*AVX512BF16, "-mamx-tile", "-mamx-bf16"],
}


class Kernels(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or (sys.platform, platform.machine()) != ("linux", "x86_64"):
            return
        folder = Path(self.root, FOLDER)
        for kind, flags in KINDS.items():
            built = folder / f"kernels-{kind}.so"
            try:
                self._build(sorted(folder.glob(SOURCES)), flags, built)
            except (OSError, subprocess.CalledProcessError) as error:
                built.unlink(missing_ok=True)
                self.app.display_warning(f"no kernels for {kind}: {getattr(error, 'stderr', '') or error}")
                continue
            build_data["artifacts"].append(f"/{built.relative_to(self.root)}")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def _build(self, sources: list[Path], flags: list[str], built: Path) -> None:
        compiler = shlex.split(os.environ.get("CC", "gcc"))
        with tempfile.TemporaryDirectory(dir=built.parent) as place:
            compiled = [f"{source.stem}.o" for source in sources]
            for command in ([*COMPILE, *flags, *map(str, sources)], [*LINK, *compiled, "-o", built.name]):
                subprocess.run([*compiler, *command], cwd=place, check=True, capture_output=True, text=True)
            Path(place, built.name).replace(built)  # a process that runs the old ones keeps them
