"""A tokenizer's name → a local folder with its published files, from the hub or from disk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ..atomic import replacing
from ..errors import CheckpointError, DiskError, FetchError, UsageError, first_line
from .cards import CARDS, Card, RemoteFile
from .hub import UNFINISHED, download, why_offline

__all__ = ["fetch", "missing_files", "published"]

_BUNDLED = Path(__file__).parent.parent / "weights"  # small models that ship inside the package


def published(name: str, checkpoint: str | Path | None) -> Path:
    """Where the published files of a tokenizer are: `checkpoint`, which must be there, a folder or one file in it; or,
    if it is None, the folder that they were fetched into, now or before, but for the optional ones."""
    if checkpoint is None:
        return fetch(name, optional=False)
    if not isinstance(checkpoint, str | os.PathLike):
        raise UsageError(f"checkpoint={checkpoint!r}: expected a path, or None to have the files fetched")
    path = Path(checkpoint).expanduser()
    if not str(checkpoint) or not path.exists():
        raise CheckpointError(
            f"{str(checkpoint)!r}: no such file or folder; expected the published files of {name} (see checkpoints.md)"
        )
    return path.absolute()  # what is read later is there whatever folder the program is in by then


def fetch(name: str, folder: str | Path | None = None, *, optional: bool = True) -> Path:
    """Download what a tokenizer needs into `folder` (default: the user's cache) and return the folder.

    Models that ship inside the package are where they are; nothing is downloaded for them. With `optional` False,
    nor are files that only some need: what paints SEED's pictures is most of its bytes.

    Files that are there already are kept, and checked where their SHA-256 is known. A download that was stopped goes on
    as huggingface_hub lets it: a plain address's, and those of a folder's files, where they stopped.
    Raises FetchError naming the file, every place that was tried, and what to do by hand; CheckpointError on a file
    that is not the published one.
    """
    bundled = _BUNDLED / name
    if bundled.is_dir():
        return bundled
    card = CARDS.get(name)
    if card is None:
        raise UsageError(f"no published weights are known for {name!r}; known: {', '.join(sorted(CARDS))}")
    target = Path(folder).expanduser() if folder else _cache() / name
    try:
        target.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{target}: {error.filename} is no folder; give a folder, or a name that is free") from error
    except OSError as error:
        raise DiskError(f"cannot write to {target} ({error.strerror or error}): give another folder") from error
    for file in _wanted(card, optional):
        path = target / file.name
        if not path.exists():
            _download(card, file, path)
        _verify(file, path)
    return target


def missing_files(name: str, folder: str | Path | None = None, *, optional: bool = True) -> list[RemoteFile]:
    """What `fetch` with these arguments would download; nothing for models that need no download."""
    card = CARDS.get(name)
    if card is None or (_BUNDLED / name).is_dir():
        return []
    target = Path(folder).expanduser() if folder else _cache() / name
    return [file for file in _wanted(card, optional) if not (target / file.name).exists()]


def _wanted(card: Card, optional: bool) -> list[RemoteFile]:
    return [file for file in card.files if optional or not file.optional]


def _cache() -> Path:
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "anytok"


def _download(card: Card, file: RemoteFile, path: Path) -> None:
    tried = []
    for repo in (file.repo, *card.mirrors.get(file.repo, ())) if file.repo else ("",):
        try:
            if repo:
                _from_hub(repo, file, path)
            else:
                _from_url(file.url, path)
            return
        except Exception as error:  # network, permission, missing repository: the list below names each
            tried.append(f"  {repo or file.url}: {first_line(error)}")
    raise FetchError(
        f"{file.name} ({file.holds}, {file.size}) could not be fetched for {card.tokenizer}:\n"
        + "\n".join(tried)
        + ("\nWhat has come is kept: fetching again goes on from there." if _has_begun(path) else "")
        + f"\nPut it there by hand: {path}\nor pass checkpoint= a folder that holds it (see checkpoints.md)."
    )


def _from_hub(repo: str, file: RemoteFile, path: Path) -> None:
    from huggingface_hub import hf_hub_download, snapshot_download

    offline = why_offline()
    if "." not in file.name:  # a whole folder, such as a diffusers pipeline
        if offline:
            raise ConnectionError(f"the hub cannot be reached ({offline})")
        unfinished = path.with_name(f"{path.name}{UNFINISHED}")  # which goes on where it was stopped
        try:
            snapshot_download(repo, local_dir=unfinished, allow_patterns=["*.json", "*.txt", "*.safetensors"])
            unfinished.replace(path)
        except Exception:
            if not path.is_dir():  # else another process was first, and has renamed the folder that both filled
                raise
        return
    try:
        fetched = Path(hf_hub_download(repo, file.path or file.name, local_files_only=bool(offline)))
    except Exception as error:
        if not offline:
            raise
        raise ConnectionError(f"the hub cannot be reached ({offline}), and its cache has no such file") from error
    with replacing(path) as link:  # also a link whose file was cleared from the hub's cache, or of another process
        link.symlink_to(fetched.resolve())


def _from_url(url: str, path: Path) -> None:
    if offline := why_offline(url):
        raise ConnectionError(f"the server cannot be reached ({offline})")
    download(url, path)


def _has_begun(path: Path) -> bool:
    """Whether a part of a file or a folder is here already."""
    return any(part.is_dir() or part.stat().st_size for part in path.parent.glob(f"{path.name}*{UNFINISHED}"))


def _verify(file: RemoteFile, path: Path) -> None:
    if not file.sha256:
        return
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        raise CheckpointError(
            f"{path}: SHA-256 is {found}, expected {file.sha256}. The download is damaged or the file was replaced: "
            "delete it and fetch again, or pass it by checkpoint= if you trust it"
        )
