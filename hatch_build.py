"""Compiles anytok's kernels into the wheel, once for each kind of CPU, and leaves the source tree as it is.

Without a compiler the wheel has none, and anytok works without them, only slower; `anytok doctor` says which it is. An
editable install has them in a package of their own, anytok_kernels, beside the path to the source tree.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER, SOURCES = "anytok/kernels", "csrc/*.c"
EDITABLE = "anytok_kernels"  # anytok/kernels looks there, too
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
        if version == "editable":
            for old in Path(self.root, FOLDER).glob("kernels-*.so"):  # an earlier version's, which would serve
                with suppress(OSError):
                    old.unlink()
        self._place = tempfile.TemporaryDirectory(prefix="anytok-kernels-")
        sources = sorted(Path(self.root, FOLDER).glob(SOURCES))
        package, included = EDITABLE if version == "editable" else FOLDER, {}
        for kind, flags in KINDS.items():
            name = f"kernels-{kind}.so"
            try:
                included[str(self._built(sources, flags, name))] = f"{package}/{name}"
            except (OSError, subprocess.CalledProcessError) as error:
                self.app.display_warning(f"no kernels for {kind}: {getattr(error, 'stderr', '') or error}")
        if included:
            build_data["force_include_editable" if version == "editable" else "force_include"].update(included)
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_place"):
            self._place.cleanup()

    def _built(self, sources: list[Path], flags: list[str], name: str) -> Path:
        compiler = shlex.split(os.environ.get("CC", "gcc"))
        place = Path(self._place.name, name)
        place.mkdir()
        compiled = [f"{source.stem}.o" for source in sources]
        for command in ([*COMPILE, *flags, *map(str, sources)], [*LINK, *compiled, "-o", name]):
            subprocess.run([*compiler, *command], cwd=place, check=True, capture_output=True, text=True)
        return place / name
