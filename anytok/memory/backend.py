"""The real mem0 in a folder: imported without its telemetry, one thread at a time, failures in one kind of error.

What of mem0 2.2 this file answers for: telemetry and a folder in the user's home at import, sqlite that threads break,
downloads by spaCy and fastembed where these are installed.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any

from ..atomic import replacing
from ..errors import AnytokError, MissingExtraError, StoreError, UsageError, first_line
from .vectors import MEDIUM_WIDTH, Embedder, hashed_words

__all__ = ["Backend"]

_IMPORTING = RLock()


class NoModel:
    """Stands where mem0 wants a language model, and an embedder before ours is in its place."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def generate_response(self, **_: Any) -> Any:
        raise UsageError("this memory has no language model: give load_memory one, as llm= or in mem0=")


class Backend:
    """mem0 and its store in `folder`. Raises UsageError where the folder is open elsewhere or holds vectors of another
    words embedder, StoreError where it cannot be read."""

    def __init__(self, folder: Path, words: Any, llm: Any, config: Mapping[str, Any]) -> None:
        if set(config) - {"llm", "embedder", "vector_store", "custom_instructions"}:
            raise UsageError("mem0= takes mem0's own settings: llm, embedder, vector_store, custom_instructions")
        if words and "embedder" in config:
            raise UsageError("words= and mem0={'embedder': …} are both given: which one is it?")
        self.folder, self.lock, self.is_open = folder, RLock(), True
        self.mem0: Any = None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _IMPORTING:
            _import_mem0(folder)
        with self.working("the folder cannot be opened"):
            theirs = _provider(**config["embedder"]) if "embedder" in config else None
            self.embedder = Embedder(words or theirs or hashed_words)
            self._check_card({"format": 1, "words": self.embedder.name, "width": self.embedder.width})
            self.mem0 = self._open(**config)
            self.mem0.embedding_model, self.mem0.llm = self.embedder, llm or self.mem0.llm
            self.mem0.vector_store._bm25_encoder = False  # "tried and failed": fastembed would download a model

    def _check_card(self, ours: dict[str, Any]) -> None:
        """The folder's words embedder is ours: vectors of two would be compared in silence."""
        card = self.folder / "memory.json"
        if not card.exists():
            with replacing(card, durable=True) as aside:
                aside.write_text(json.dumps(ours))
        if (kept := json.loads(card.read_text())) != ours:
            raise UsageError(f"{card} says {kept}, this is {ours}: load it with the words embedder it was made with")

    def _open(self, *, llm: Any = None, embedder: Any = None, vector_store: Any = None, **others: Any) -> Any:
        from mem0.configs.base import EmbedderConfig, LlmConfig, MemoryConfig, VectorStoreConfig
        from mem0.memory.main import Memory, _build_session_scope
        from mem0.utils.factory import EmbedderFactory, LlmFactory

        self.scope_name = _build_session_scope  # what mem0 keeps raw messages under: "run_id=today&user_id=alice"
        LlmFactory.register_provider("anytok", f"{__name__}.NoModel")
        EmbedderFactory.provider_to_class["anytok"] = f"{__name__}.NoModel"
        none = {"provider": "anytok", "config": {}}  # which mem0's own check of names does not know
        store = vector_store or {"provider": "qdrant", "config": {"path": str(self.folder / "vectors")}}
        sizes = {"collection_name": "anytok", "embedding_model_dims": self.embedder.width + MEDIUM_WIDTH + 1}
        settings = MemoryConfig.model_construct(
            vector_store=VectorStoreConfig(provider=store["provider"], config=sizes | store.get("config", {})),
            llm=LlmConfig(**llm) if llm else LlmConfig.model_construct(**none),
            embedder=EmbedderConfig.model_construct(**none), history_db_path=str(self.folder / "history.db"), **others,
        )  # fmt: skip
        try:
            return Memory(settings)
        except RuntimeError as error:
            if "already accessed" in str(error):
                raise UsageError(f"{self.folder} is open, here or in another process: close it there") from error
            raise

    @contextmanager
    def working(self, failed: str, *, partly: bool = False) -> Iterator[Any]:
        """mem0, for this thread alone. What is raised within becomes a StoreError that begins with `failed`; our own
        errors stay what they are, unless something was done `partly`."""
        with self.lock:
            try:
                if not self.is_open:
                    raise UsageError(f"the memory in {self.folder} is closed")
                yield self.mem0
            except Exception as error:
                if isinstance(error, AnytokError) and not partly:
                    raise
                raise StoreError(f"{self.folder}: {failed} ({first_line(error)})") from error

    def is_within(self, scope: Mapping[str, str], name: str | None) -> bool:
        """Whether the scope of that name is `scope`, or a narrower one."""
        return {*self.scope_name(scope).split("&")} <= {*(name or "").split("&")}

    def erase(self, scope: Mapping[str, str], ids: Iterable[str], *, deleted: bool = False) -> None:
        """Take the raw messages within `scope` from the files, and memories from the history; with `deleted` also those
        that were deleted before."""
        with self.mem0.db._lock, self.mem0.db.connection as history:
            history.create_function("ours", 1, partial(self.is_within, scope))
            history.execute("DELETE FROM messages WHERE ours(session_scope)")
            history.executemany("DELETE FROM history WHERE memory_id = ?", [(id,) for id in ids])
            if deleted:
                gone = "SELECT memory_id FROM history WHERE ours(actor_id)"
                history.execute(f"DELETE FROM history WHERE memory_id IN ({gone})")
        for path in (self.folder / "history.db", *self.folder.glob("vectors/**/*.sqlite")):
            with closing(sqlite3.connect(path)) as file:
                file.execute("VACUUM")

    def close(self) -> None:
        """Write nothing more, and let others open the folder."""
        with self.lock, suppress(AttributeError):  # other stores than qdrant have no client; closed twice
            if self.is_open:
                self.is_open = False
                self.mem0.close()
                self.mem0.vector_store.client.close()


def _provider(provider: str, config: Mapping[str, Any]) -> Any:
    """A function of words, which mem0's provider embeds."""
    from mem0.utils.factory import EmbedderFactory

    theirs = EmbedderFactory.create(provider, config, None)
    words = partial(theirs.embed, memory_action="add")
    vars(words).update(name=f"{provider}:{theirs.config.model}", width=int(theirs.config.embedding_dims))
    return words


def _import_mem0(folder: Path) -> None:
    """Import mem0 with its telemetry off and its home in `folder`; environment and loggers stay as they were."""
    quiet = {"MEM0_TELEMETRY": "False", "MEM0_DIR": str(folder)}
    before = {name: os.environ.get(name) for name in quiet}
    levels = {name: logging.getLogger(name).level for name in ("posthog", "urllib3")}
    try:
        os.environ.update(quiet)
        from mem0.memory import main
        from mem0.utils import spacy_models
    except ImportError as error:
        raise MissingExtraError("mem0ai", "memory", "a memory") from error
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    if main.MEM0_TELEMETRY:
        raise UsageError("mem0 was imported before, with its telemetry on: set MEM0_TELEMETRY=False before that")
    # "Tried and failed": else spaCy, where it is installed, downloads a model and changes scores.
    spacy_models._load_failed_full = spacy_models._load_failed_lemma = True
