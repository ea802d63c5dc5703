"""Files by their path or by any fsspec URL: listed, opened, and recognised when they change."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO, Any

from ..errors import JobError, UsageError
from .items import Input, fingerprint, version

__all__ = ["input_of", "is_pattern", "is_url", "list_files", "open_url", "size_and_stamp", "version_of"]

# What file systems call that which changes when a file does.
STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "blob_id", "created")


def is_url(path: str) -> bool:
    """Whether the path is for fsspec, not for the operating system."""
    return "://" in path


def is_pattern(path: str) -> bool:
    """Whether the path stands for all that match it; a file or folder whose name has such signs stands for itself."""
    return bool(set(path) & set("*?[")) and not os.path.lexists(path)


def size_and_stamp(path: str) -> tuple[int | None, str]:
    """Bytes and fingerprint of a local file; (None, "") if it cannot be looked at."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None, ""
    return found.st_size, fingerprint(found)


def input_of(path: str) -> Input:
    """The Input of one file or URL that must be there; raises JobError."""
    if is_url(path):
        return Input(*list_files(path)[0])
    try:
        found = os.stat(path)
    except OSError as error:
        raise JobError(f"cannot read the source {path}: {error.strerror}") from error
    return Input(path, found.st_size, fingerprint(found))


def list_files(pattern: str) -> list[tuple[str, int | None, str]]:
    """Path, size and stamp of every file that matches or lies below, sorted. Raises JobError if there is none."""
    files, root = _file_system(pattern)
    try:
        found = files.glob(root, detail=True) if is_pattern(root) else files.find(root, detail=True)
        known = [(name, info or files.info(name)) for name, info in sorted(found.items())]
        rows = [(name, info) for name, info in known if _is_file(files, name, info)]
    except Exception as error:  # a file system of anybody's raises anything
        raise JobError(f"source {pattern!r} cannot be listed ({type(error).__name__}: {error})") from error
    if not rows:
        raise JobError(f"source {pattern!r}: no file matches")
    if is_url(pattern):
        return [(files.unstrip_protocol(name), info.get("size"), _stamp(info)) for name, info in rows]
    return [(name, *size_and_stamp(name)) for name, _ in rows]


def _is_file(files: Any, name: str, info: Mapping[str, Any]) -> bool:
    """Links to files are files. So are links to nothing: missing ones, which belong in the ledger."""
    if info.get("type") in ("file", "directory"):
        return bool(info["type"] == "file")
    return bool(files.isfile(name) or (info.get("islink") and not files.exists(name)))


def version_of(path: str, stream: IO[bytes]) -> str:
    """The `version` of an open file: at this moment, or of a URL, as its server tells it now."""
    if is_url(path):
        files, name = _file_system(path)
        info = files.info(name)
        return version(info.get("size"), _stamp(info))
    found = os.fstat(stream.fileno())
    return version(found.st_size, fingerprint(found))


def open_url(path: str) -> IO[bytes]:
    """A local file or any fsspec URL, open for reading in any place."""
    if not is_url(path):
        return open(path, "rb")
    files, name = _file_system(path)
    return files.open(name, "rb")


def _file_system(path: str) -> tuple[Any, str]:
    import fsspec

    try:
        return fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:  # it names the package that is wanted, or the protocol it does not know
        raise UsageError(f"{path!r} cannot be opened: {error}") from error


def _stamp(info: Mapping[str, Any]) -> str:
    return next((str(info[name]) for name in STAMPS if info.get(name)), "")
