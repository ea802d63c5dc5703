"""Where a number was measured, and of which sources: the lines that stand beside every result."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import xxhash

from anytok.atomic import replacing

Row = dict[str, Any]
ROOT = Path(__file__).parent.parent
PACKAGES = ("torch", "transformers", "diffusers", "encodec", "speechtokenizer", "numpy")
# What decides codes and speed, besides torch: the models, the native engines and their kernels, and how C is compiled.
KERNEL_FOLDERS = ("anytok/kernels", "anytok/engines/native", "anytok/models")
KERNEL_FILES = ("hatch_build.py",)
SUFFIXES = (".c", ".h", ".py")


def machine(*packages: str) -> Row:
    """Processor, cores, whether anytok's kernels are there and the hash of their sources, load, versions of what is
    compared (of `packages`, too), and the commit."""
    import torch

    from anytok import kernels

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": gpu,
        "kernels": kernels.current().name,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: found for name in (*PACKAGES, *packages) if (found := _version(name))},
        "commit": _commit(),
        "kernel_sources": kernel_sources(),
    }


def write_record(path: Path, record: Row) -> None:
    """Write a result file, whole or not at all: a run may be killed at any time."""
    with replacing(path) as aside:
        aside.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def kernel_sources(root: Path = ROOT) -> str:
    """A hash of the sources that decide codes and speed, 16 hex digits.

    Each file counts by its bytes, so one that was only moved changes nothing; an edited comment does count.
    """
    files = [root / name for name in KERNEL_FILES]
    files += [path for name in KERNEL_FOLDERS for path in (root / name).rglob("*") if path.suffix in SUFFIXES]
    each = sorted(xxhash.xxh3_64_digest(path.read_bytes()) for path in files)
    return xxhash.xxh3_64_hexdigest(b"".join(each))


def rows_before(path: Path, keep: Callable[[Row], bool]) -> list[Row]:
    """The rows of a result file that are kept beside those measured anew, each with what it was measured with.

    They must not pass for measured at today's commit, with today's torch; and another machine's rows do not belong into
    the same table at all, so they end the program. None where there is no file.
    """
    record = json.loads(path.read_text("utf-8")) if path.exists() else {"machine": {}, "rows": []}
    kept = [provenance(record["machine"], row) | row for row in record["rows"] if keep(row)]
    theirs, ours = where(record["machine"]), where(machine())
    if kept and theirs != ours:
        raise SystemExit(f"{path} has {len(kept)} rows of {theirs}, and this is {ours}: measure all, or give --out")
    return kept


def provenance(machine: Row, row: Row) -> Row:
    """The commit, the hash of kernel sources and the torch that a row was measured with; the hash is None where nobody
    noted it."""
    noted = row if "commit" in row else machine
    torch = row.get("torch", machine.get("versions", {}).get("torch"))
    return {"commit": noted["commit"], "kernel_sources": noted.get("kernel_sources"), "torch": torch}


def where(machine: Row) -> str:
    """The GPU, or the processor and its cores."""
    return machine.get("gpu") or f"{machine.get('processor')}, {machine.get('cores')} cores"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
