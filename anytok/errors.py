"""The errors users meet. Each message says what came, what was expected, and what to do."""

from __future__ import annotations

__all__ = [
    "AnytokError",
    "CacheError",
    "CheckpointError",
    "CodesError",
    "DiskError",
    "FetchError",
    "JobError",
    "MediaError",
    "MissingExtraError",
    "NetworkError",
    "StoreError",
    "UsageError",
    "VocabularyError",
    "first_line",
]


class AnytokError(Exception):
    """Base of every error that anytok raises on purpose."""


class UsageError(AnytokError, ValueError):
    """An argument is wrong: an unknown name, an option that does not exist, an impossible combination."""


class MediaError(AnytokError, ValueError):
    """A picture or a recording cannot be used.

    `kind` is a short stable word for ledgers and statistics (`truncated`, `too_large`, `not_finite`, …);
    `key` names the item (its path, or its place in the batch) once that is known.
    """

    def __init__(self, kind: str, detail: str, key: str | None = None) -> None:
        super().__init__(kind, detail, key)
        self.kind, self.detail, self.key = kind, detail, key

    def with_key(self, key: str) -> MediaError:
        """The same error, naming its item; a key that is already there stays."""
        return MediaError(self.kind, self.detail, self.key or key)

    def __str__(self) -> str:
        return f"{self.key}: {self.detail} [{self.kind}]" if self.key else f"{self.detail} [{self.kind}]"


class CheckpointError(AnytokError):
    """Weights are missing, damaged, unsafe, or not the ones asked for."""


class FetchError(CheckpointError):
    """Weights could not be fetched: no network, no leave, no such place."""


class CodesError(AnytokError, ValueError):
    """Codes have the wrong shape, type or range, or come from another tokenizer."""


class VocabularyError(AnytokError, ValueError):
    """Ids or text do not parse, or a layout does not hold."""


class JobError(AnytokError):
    """A tokenization job cannot start, go on, or be trusted."""


class DiskError(JobError):
    """A job's output folder takes no more: there is no room, or no leave to write."""


class NetworkError(JobError):
    """A source that lies elsewhere cannot be reached: no network, no such server, no leave."""


class StoreError(AnytokError):
    """A memory's store, words embedder or language model failed; the message says what became of the call."""


class CacheError(AnytokError):
    """A cache of codes cannot be used: it is damaged or something else, may not be written, or its disk is full."""


class MissingExtraError(AnytokError, ImportError):
    """An optional package is needed; the message gives the install command. `extra` is "" where none of ours brings
    the package."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        wanted = f"'anytok[{extra}]'" if extra else package
        super().__init__(f"{purpose} needs the package '{package}': pip install {wanted}")
        self._parts = (package, extra, purpose)

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:  # how it gets from a worker to the job
        return type(self), self._parts


def first_line(error: BaseException) -> str:
    """What an exception of any kind says, in one line: for messages that name it as their reason.

    >>> first_line(RuntimeError("no room\\nat /dev/null")), first_line(KeyError())
    ('no room', 'KeyError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
