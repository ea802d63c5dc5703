"""The real mem0 in a folder: imported without its telemetry, one thread at a time, failures in one kind of error.

What of mem0 2.2 this file answers for: telemetry and a folder in the user's home at import, vectors that only text can
have, sqlite that threads break, downloads by spaCy and fastembed where these are installed.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from ..atomic import replacing
from ..errors import AnytokError, MissingExtraError, StoreError, UsageError, first_line
from .vectors import MEDIUM_WIDTH, HashedWords, join, unit

__all__ = ["Backend", "Embedder"]

_CARD = "memory.json"
_IMPORTING = RLock()


class Embedder:
    """What mem0 embeds text by: words by `words`, joined with the vector of the medium that the text stands for."""

    def __init__(self, words: Callable[[str], Any], name: str, width: int) -> None:
        self.words, self.name, self.width = words, name, width
        self.media: dict[str, tuple[str, np.ndarray | None]] = {}  # text → its words, its medium; while mem0 works
        self.failure: Exception | None = None  # mem0's deduction passes over texts that cannot be embedded

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        words, medium = self.media.get(text, (text, None))
        try:
            vector = np.asarray(self.words(words), np.float64) if words else np.zeros(self.width)
            if vector.shape != (self.width,) or not np.isfinite(vector).all():
                raise UsageError(f"{self.name} gave {vector.shape}: expected {self.width} finite numbers for each text")
        except Exception as error:
            self.failure = error
            raise
        return join(unit(vector), medium, query=memory_action == "search").tolist()

    def embed_batch(self, texts: list[str], memory_action: str = "add") -> list[list[float]]:
        return [self.embed(text, memory_action) for text in texts]


class Placeholder:
    """Stands where mem0 builds a model or an embedder; those of a memory are put in its place."""

    def __init__(self, config: Any = None) -> None:
        self.config = config

    def generate_response(self, *args: Any, **kwargs: Any) -> Any:
        raise UsageError("this memory has no language model: give load_memory one, as llm= or in mem0=")


class Backend:
    """mem0 and its store in `folder`. Raises UsageError where the folder is open elsewhere or holds vectors of another
    words embedder, StoreError where it cannot be read."""

    def __init__(self, folder: Path, words: Any, llm: Any, config: Mapping[str, Any]) -> None:
        self.folder, self.lock = folder, RLock()
        self.mem0: Any = None
        if not isinstance(config, Mapping) or set(config) - {"llm", "embedder", "vector_store", "custom_instructions"}:
            raise UsageError("mem0= takes mem0's own settings: llm, embedder, vector_store, custom_instructions")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _import_mem0(folder)
        with self._failing("the folder cannot be opened"):
            self.embedder = _embedder(words, config.get("embedder"))
            self._check_card()
            self.mem0 = self._open(config)
        self.mem0.embedding_model = self.embedder
        if llm is not None:
            self.mem0.llm = llm
        if hasattr(self.mem0.vector_store, "_bm25_encoder"):
            self.mem0.vector_store._bm25_encoder = False  # "tried and failed": fastembed would download a model

    def _open(self, config: Mapping[str, Any]) -> Any:
        from mem0.configs.base import MemoryConfig
        from mem0.embeddings.configs import EmbedderConfig
        from mem0.llms.configs import LlmConfig
        from mem0.memory.main import Memory, _build_session_scope
        from mem0.utils.factory import EmbedderFactory, LlmFactory
        from mem0.vector_stores.configs import VectorStoreConfig

        self.scope_name = _build_session_scope  # by which mem0 keeps raw messages
        ours = f"{__name__}.{Placeholder.__name__}"
        LlmFactory.register_provider("anytok", ours)
        EmbedderFactory.provider_to_class["anytok"] = ours
        store = config.get("vector_store") or {"provider": "qdrant", "config": {"path": str(self.folder / "vectors")}}
        width = self.embedder.width + MEDIUM_WIDTH + 1
        sizes = {"collection_name": "anytok", "embedding_model_dims": width, **store.get("config", {})}
        none = {"provider": "anytok", "config": {}}  # which mem0's own check of names does not know
        settings = MemoryConfig.model_construct(
            vector_store=VectorStoreConfig(provider=store["provider"], config=sizes),
            llm=LlmConfig(**config["llm"]) if "llm" in config else LlmConfig.model_construct(**none),
            embedder=EmbedderConfig.model_construct(**none), history_db_path=str(self.folder / "history.db"),
            reranker=None, version="v1.1", custom_instructions=config.get("custom_instructions"),
        )  # fmt: skip
        try:
            return Memory(settings)
        except RuntimeError as error:
            if "already accessed" in str(error):
                raise UsageError(f"{self.folder} is open, here or in another process: close it there") from error
            raise

    def _check_card(self) -> None:
        """The folder's words embedder is ours: vectors of two would be compared in silence."""
        ours = {"format": 1, "words": self.embedder.name, "width": self.embedder.width}
        path = self.folder / _CARD
        if not path.exists():
            with replacing(path, durable=True) as aside:
                aside.write_text(json.dumps(ours))
        elif (kept := json.loads(path.read_text())) != ours:
            raise UsageError(f"{path} says {kept}, this is {ours}: load it with the words embedder it was made with")

    @contextmanager
    def working(self, failed: str) -> Iterator[Any]:
        """mem0, for this thread alone. What is raised within becomes a StoreError that begins with `failed`."""
        with self.lock, self._failing(failed):
            if self.mem0 is None:
                raise UsageError(f"the memory in {self.folder} is closed")
            yield self.mem0

    @contextmanager
    def _failing(self, failed: str) -> Iterator[None]:
        try:
            yield
        except AnytokError:
            raise
        except Exception as error:
            raise StoreError(f"{self.folder}: {failed} ({first_line(error)})") from error

    def erase(self, ids: Iterable[str], scopes: Iterable[str]) -> None:
        """Take memories from the history, and the raw messages of scopes; then write the files anew, without them."""
        with self.mem0.db._lock, self.mem0.db.connection as history:
            history.executemany("DELETE FROM history WHERE memory_id = ?", [(id,) for id in ids])
            history.executemany("DELETE FROM messages WHERE session_scope = ?", [(scope,) for scope in scopes])
        for path in (self.folder / "history.db", *self.folder.glob("vectors/**/*.sqlite")):
            with closing(sqlite3.connect(path)) as file:
                file.execute("VACUUM")

    def erase_scope(self, scope: Mapping[str, str], ids: set[str] | None) -> None:
        """Take the raw messages of a scope, and of narrower ones; with `ids` the history of these, and of all that was
        deleted there before."""
        ours, query = {*self.scope_name(scope).split("&")}, self.mem0.db.connection.execute
        scopes = [one for (one,) in query("SELECT DISTINCT session_scope FROM messages") if ours <= {*one.split("&")}]
        rows = query("SELECT DISTINCT memory_id, actor_id FROM history").fetchall()
        gone = {id for id, whose in rows if ours <= {*(whose or "").split("&")}}
        self.erase([] if ids is None else ids | gone, scopes)

    def close(self) -> None:
        """Write nothing more, and let others open the folder."""
        with self.lock:
            if self.mem0 is not None:
                with suppress(AttributeError):  # other stores than qdrant
                    self.mem0.vector_store.client.close()
                self.mem0.close()
                self.mem0 = None


def _embedder(words: Any, config: Mapping[str, Any] | None) -> Embedder:
    """Of the user's function, of mem0's provider, or our own."""
    if words is not None and config is not None:
        raise UsageError("words= and mem0={'embedder': …} are both given: which one is it?")
    if config is not None:
        from mem0.utils.factory import EmbedderFactory

        theirs = EmbedderFactory.create(config["provider"], config.get("config", {}), None)
        name = f"{config['provider']}:{theirs.config.model}"
        return Embedder(lambda text: theirs.embed(text, "add"), name, int(theirs.config.embedding_dims))
    words = words or HashedWords()
    name = getattr(words, "name", None) or f"{words.__module__}.{getattr(words, '__qualname__', type(words).__name__)}"
    return Embedder(words, name, getattr(words, "width", None) or len(words("a word")))


def _import_mem0(folder: Path) -> None:
    """Import mem0 with its telemetry off and its home in `folder`; afterwards environment and loggers are as before."""
    with _IMPORTING:
        before = {name: os.environ.get(name) for name in ("MEM0_TELEMETRY", "MEM0_DIR")}
        loggers = [logging.getLogger(name) for name in ("posthog", "urllib3")]
        levels = [logger.level for logger in loggers]
        try:
            os.environ.update(MEM0_TELEMETRY="False", MEM0_DIR=str(folder))
            import mem0.memory.main as main
            import mem0.utils.spacy_models as spacy_models
        except ImportError as error:
            raise MissingExtraError("mem0ai", "memory", "a memory") from error
        finally:
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
        if main.MEM0_TELEMETRY:
            raise UsageError("mem0 was imported before, with its telemetry on: set MEM0_TELEMETRY=False before that")
        # "Tried and failed": else spaCy, where it is installed, downloads a model and changes scores.
        spacy_models._load_failed_full = spacy_models._load_failed_lemma = True
