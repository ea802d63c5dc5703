"""The files below a folder, and those that match a pattern: links to folders are followed, but never in circles."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator

from ..errors import MissingExtraError

__all__ = ["matching", "walk"]

MAGIC = re.compile(r"[*?\[]")
OUTPUT = "_anytok"  # what the output folder of a job holds


def walk(
    root: str, passed_over: Counter[str], *, depth: int | None = None, outputs: bool = True
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Each folder by its path below `root` ("" is `root` itself) with its entries that are no folders, by name; a
    folder comes before those in it.

    A link to a folder is followed where it leads out of `root`, and once for each place; with a `depth`, the levels
    of folders to go down to, it is followed as any folder is. Which ones are not is counted in `passed_over`, as are
    output folders of jobs unless `outputs`. Raises OSError.
    """
    places = [os.path.realpath(root)]  # that links need not lead to: what lies there is listed
    folders = [("", 0, False)]
    while folders:
        folder, level, is_linked = folders.pop()
        with os.scandir(os.path.join(root, folder)) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        if not outputs and any(entry.name == OUTPUT for entry in entries):
            passed_over[f"{os.path.join(root, folder).rstrip('/')} (a job's output: it holds {OUTPUT})"] += 1
            continue
        files, below = [], []
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if not _is_folder(entry):
                files.append(entry)
                continue
            is_link = is_linked or entry.is_symlink()
            if depth is None and is_link and not _leads_out(os.path.realpath(entry.path), places, entry.is_symlink()):
                passed_over[f"{name} (a folder that is listed elsewhere)"] += 1
            elif depth is None or level < depth:
                below.append((name, level + 1, is_link))
        yield folder, files
        folders.extend(reversed(below))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: a file that cannot be read
        return False


def _leads_out(target: str, places: list[str], is_link: bool) -> bool:
    """Whether a folder that was come to through a link is none of the `places`, nor around the first; a link's is not
    in one of them either, and becomes one."""
    if target in places or os.path.commonpath([target, places[0]]) == target:
        return False
    if is_link and any(os.path.commonpath([target, place]) == place for place in places):
        return False
    if is_link:
        places.append(target)
    return True


def matching(pattern: str, passed_over: Counter[str]) -> list[str]:
    """The absolute paths of all files that match, sorted. `**` stands for folders of any depth."""
    try:
        from fsspec.utils import glob_translate
    except ImportError as error:
        raise MissingExtraError("fsspec", "jobs", "a pattern or a URL as source") from error
    pattern = os.path.abspath(pattern)
    parts = pattern.split("/")
    first = next(number for number, part in enumerate(parts) if MAGIC.search(part))
    root = "/".join(parts[:first]) or "/"
    if not os.path.isdir(root):
        return []
    expression = re.compile(glob_translate(pattern))
    depth = None if "**" in parts else len(parts) - first - 1
    found = [entry.path for _, files in walk(root, passed_over, depth=depth) for entry in files]
    return sorted(path for path in found if expression.match(path))
