"""Files by their path or by any fsspec URL: listed, opened, and recognised when they change."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from ..errors import AnytokError, JobError, MissingExtraError, NetworkError, UsageError
from .folders import MAGIC, matching, walk
from .items import Input, fingerprint, version
from .values import reason_of

__all__ = [
    "input_of", "is_pattern", "is_url", "list_files", "local_path", "open_parts", "open_url", "read_error",
    "size_and_stamp", "tail_of", "unreachable", "version_of",
]  # fmt: skip

_NO_RANGES = ("range requests", "Cannot seek streaming")  # what fsspec says of servers without them
# What file systems call that which changes when a file does.
STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "blob_id", "created")
# Protocols come first, maybe several of a chain (simplecache::s3://…): a folder's name may hold such signs, too.
_PROTOCOLS = re.compile(r"(?:[A-Za-z][\w+.-]*::)*[A-Za-z][\w+.-]*://")
_FILE = "file://"
_LINK = re.compile(r"((?:[A-Za-z][\w+.-]*::)*)([A-Za-z][\w+.-]*://.*?)((?:::.*)?)", re.DOTALL)
_MEMORY = re.compile(r"(?:^|::)memory(?:://|::)")
_PACKAGES = {"smbclient": "smbprotocol", "libarchive": "libarchive-c", "aiohttp": "aiohttp"}  # by module, as pip has it


def is_url(path: str) -> bool:
    """Whether the path is for fsspec, not for the operating system. What is there under this very name is no URL."""
    return bool(_PROTOCOLS.match(path)) and not os.path.lexists(path)


def local_path(path: str) -> str | None:
    """The path of a local file: of file:// URLs, too, whose signs may be written as they are or with percent signs
    (RFC 8089). None for other URLs."""
    if not is_url(path):
        return path
    if path[: len(_FILE)].lower() != _FILE:
        return None
    name = path[len(_FILE) :]
    name = name.removeprefix("localhost") if name.startswith("localhost/") else name
    decoded = unquote(name)
    return decoded if _is_there(decoded) and not _is_there(name) else name


def _is_there(path: str) -> bool:
    """Whether a path, or of a pattern the folder that it begins with, is there."""
    if os.path.lexists(path):
        return True
    magic = MAGIC.search(path)
    return magic is not None and os.path.isdir(os.path.dirname(path[: magic.start()]) or ".")


def is_pattern(path: str) -> bool:
    """Whether the path stands for all that match it; a file or folder whose name has such signs stands for itself.
    In the URL of a web server, ? begins the query."""
    signs = MAGIC.findall(path)
    if path.startswith(("http://", "https://")):
        signs = [sign for sign in signs if sign != "?"]
    return bool(signs) and not os.path.lexists(path)


def tail_of(path: str) -> str:
    """What stands behind the name of a file in a chain of file systems, "::s3://bucket/a.zip" of
    zip://a.wav::s3://bucket/a.zip; "" where nothing does."""
    match = _LINK.fullmatch(path) if local_path(path) is None else None
    return match[3] if match else ""


def size_and_stamp(path: str) -> tuple[int | None, str]:
    """Bytes and fingerprint of a local file; (None, "") if it cannot be looked at."""
    try:
        found = os.stat(local_path(path) or path)
    except (OSError, ValueError):
        return None, ""
    # Of a file:// URL it is written as fsspec writes it: as plans have it.
    return found.st_size, str(found.st_mtime) if is_url(path) else fingerprint(found)


def input_of(path: str) -> Input:
    """The Input of one file or URL that must be there; raises JobError."""
    if local_path(path) is None:
        return Input(*list_files(path)[0])
    try:
        os.stat(local_path(path) or path)
    except (OSError, ValueError) as error:
        raise JobError(f"cannot read the source {path}: {getattr(error, 'strerror', None) or error}") from error
    return Input(path, *size_and_stamp(path))


def list_files(pattern: str, passed_over: Counter[str] | None = None) -> list[tuple[str, int | None, str]]:
    """Path, size and stamp of every file that matches or lies below, sorted. Raises UsageError if there is none,
    NetworkError where a server cannot be reached.

    Folders that are not looked into are counted in `passed_over` (see `walk`)."""
    counts: Counter[str] = Counter() if passed_over is None else passed_over
    local = local_path(pattern)
    try:
        rows = _list_url(pattern) if local is None else _list_local(local, is_url(pattern), counts)
    except (UsageError, MissingExtraError):
        raise
    except Exception as error:  # a file system of anybody's raises anything
        if local is None:
            raise unreachable(pattern, error) from error
        raise JobError(f"source {pattern!r} cannot be listed ({reason_of(error)})") from error
    if not rows:
        what = "no file matches" if is_pattern(pattern) else "there is no such file or folder"
        raise UsageError(f"source {pattern!r}: {what}")
    return rows


def unreachable(path: str, error: BaseException) -> AnytokError:
    """What to say where a server, or what stands before it, does not give what a source needs: some file systems call
    a file missing whose server does not answer, and keep the reason behind that."""
    while isinstance(error, FileNotFoundError) and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__ or error
    if isinstance(error, FileNotFoundError) or getattr(error, "status", None) == 404:
        return UsageError(f"source {path!r}: there is no such file")
    return NetworkError(
        f"source {path!r} cannot be reached ({reason_of(error)}): check the address, the network, and what gives you "
        "leave there (keys, tokens, logging in)"
    )


def _list_local(path: str, as_url: bool, passed_over: Counter[str]) -> list[tuple[str, int | None, str]]:
    whole = os.path.abspath(path)
    if is_pattern(path):
        names = matching(path, passed_over)
    elif os.path.isdir(whole):
        names = sorted(entry.path for _, files in walk(whole, passed_over) for entry in files)
    else:
        names = [whole] if os.path.lexists(whole) else []
    names = [f"{_FILE}{name}" if as_url else name for name in names]
    return [(name, *size_and_stamp(name)) for name in names]


def _list_url(pattern: str) -> list[tuple[str, int | None, str]]:
    files, root = _file_system(pattern)
    found = files.glob(root, detail=True) if is_pattern(pattern) else files.find(root, detail=True)
    if not (found or is_pattern(pattern)):
        files.info(root)  # raises what `find` passes over: that it is not there, or cannot be reached
    known = [(name, info or files.info(name)) for name, info in sorted(found.items())]
    rows = [(name, info) for name, info in known if _is_file(files, name, info)]
    url_of = _Urls(pattern, files)
    return [(url_of(name), info.get("size"), _stamp(info)) for name, info in rows]


def read_error(path: str, what: str, error: BaseException) -> AnytokError:
    """What to say where a file that holds others cannot be read: `what` it is not, or what its server cannot do."""
    if local_path(path) is None:
        if any(words in str(error) for words in _NO_RANGES):
            return JobError(
                f"{path}: its server gives no parts of files (HTTP ranges), which tars and tables are read by: "
                f"download it first, or give filecache::{path}, which each reader downloads whole"
            )
        if isinstance(error, OSError):
            return unreachable(path, error)
    return JobError(f"{path} {what} ({reason_of(error)})")


class _Urls:
    """The URLs of the files that a file system lists, as other processes can open them."""

    def __init__(self, pattern: str, files: Any) -> None:
        self._pattern, self._files = pattern, files
        # Of zip://*.wav::s3://bucket/a.zip or simplecache::s3://bucket/*.wav, the link of the chain that names files.
        match = _LINK.fullmatch(pattern)
        self._before, link, self._behind = match.groups() if match else ("", pattern, "")
        self._scheme: str
        self._scheme, _, rest = link.partition("://")
        self._place = rest.partition("/")[0]  # user@host, which some file systems leave out of names
        self._form: Callable[[str], str] | None = None

    def __call__(self, name: str) -> str:
        """Raises UsageError where no URL leads back to the file."""
        if self._form is None:
            forms = (self._whole, self._with_place, self._files.unstrip_protocol)
            self._form = next((form for form in forms if self._leads_back(form(name), name)), None)
        if self._form is None:
            raise UsageError(
                f"source {self._pattern!r}: files are listed there, but no URL of one, such as {self._whole(name)!r}, "
                "opens it again: copy them to a folder first"
            )
        return self._form(name)

    def _whole(self, name: str) -> str:
        return f"{self._before}{self._scheme}://{name.removeprefix(f'{self._scheme}://')}{self._behind}"

    def _with_place(self, name: str) -> str:
        return f"{self._before}{self._scheme}://{self._place}/{name.lstrip('/')}{self._behind}"

    def _leads_back(self, url: str, name: str) -> bool:
        try:
            return _file_system(url) == (self._files, name)
        except AnytokError:
            return False


def _is_file(files: Any, name: str, info: Mapping[str, Any]) -> bool:
    """Links to files are files. So are links to nothing: missing ones, which belong in the ledger."""
    if info.get("type") in ("file", "directory"):
        return bool(info["type"] == "file")
    return bool(files.isfile(name) or (info.get("islink") and not files.exists(name)))


def version_of(path: str, stream: IO[bytes]) -> str:
    """The `version` of an open file: at this moment, or of a URL, as its server tells it now."""
    if local_path(path) is None:
        files, name = _file_system(path)
        info = files.info(name)
        return version(info.get("size"), _stamp(info))
    found = os.fstat(stream.fileno())
    return version(found.st_size, str(found.st_mtime) if is_url(path) else fingerprint(found))


def open_url(path: str) -> IO[bytes]:
    """A local file or any fsspec URL, open for reading in any place. Raises OSError, also on pipes and devices, from
    which a source cannot be read twice, and whatever a file system of anybody's raises."""
    local = local_path(path)
    if local is None:
        files, name = _file_system(path)
        return files.open(name, "rb")
    if not stat.S_ISREG(os.stat(local).st_mode):
        raise OSError(f"{path} is no regular file")
    return open(local, "rb")


def open_parts(path: str) -> IO[bytes]:
    """`open_url` of a file that is read in parts. Raises JobError where its server gives whole files only."""
    if path.startswith(("http://", "https://")):
        _check_ranges(urlsplit(path).netloc, path)
    return open_url(path)


_ranging: set[str] = set()  # web servers that have been seen to give parts


def _check_ranges(server: str, path: str) -> None:
    if server in _ranging:
        return
    with open_url(path) as stream:
        try:
            stream.seek(1)
            stream.read(1)
        except Exception as error:
            raise read_error(path, "cannot be read", error) from error
    _ranging.add(server)


def _file_system(path: str) -> tuple[Any, str]:
    """Raises UsageError on schemes that nobody knows or that cannot serve, MissingExtraError on those that need a
    package."""
    import fsspec

    if _MEMORY.search(path):
        raise UsageError(f"{path!r}: this memory is one process's own, and media are read by others: write a folder")
    try:
        if match := _LINK.fullmatch(path) if tail_of(path) else None:
            files = _archive(f"{match[1]}{match[2].partition('://')[0]}://{match[3]}")
            return files, files._strip_protocol(match[2])
        return fsspec.core.url_to_fs(path)
    except ImportError as error:
        missing = error.__cause__ or error.__context__ or error
        module = (getattr(missing, "name", None) or "").partition(".")[0]
        if not module:
            raise UsageError(f"{path!r} cannot be opened: {error}") from error
        raise MissingExtraError(_PACKAGES.get(module, module), "", f"the source {path!r}") from error
    except ValueError as error:  # a protocol that it does not know
        raise UsageError(f"{path!r} cannot be opened: {error}") from error
    except Exception as error:  # some connect at once
        raise unreachable(path, error) from error


@lru_cache(maxsize=4)
def _archive(root: str) -> Any:
    """The file system in a file, kept open: fsspec closes it with the last reference, though what it opened is read."""
    import fsspec

    return fsspec.core.url_to_fs(root)[0]


def _stamp(info: Mapping[str, Any]) -> str:
    return next((str(info[name]) for name in STAMPS if info.get(name)), "")
