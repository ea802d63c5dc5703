"""The vocabulary of a job: a published one or a file; where sequences are composed, with words and runs as asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..errors import CodesError, UsageError, VocabularyError
from ..spec import Codes
from .config import JobConfig

if TYPE_CHECKING:
    from ..vocab import Vocabulary

__all__ = ["load_job_vocabulary", "text_identity"]


def load_job_vocabulary(config: JobConfig, probes: Iterable[Codes] = ()) -> Vocabulary | None:
    """The job's vocabulary; None where it has none. Raises UsageError if it cannot be read, or has no ids for codes
    such as `probes`."""
    name = config.vocabulary
    if not name:
        return None
    from ..vocab import load_vocabulary

    try:
        vocabulary = load_vocabulary(name)
        vocabulary = _composed(vocabulary, config)
        for codes in probes:
            vocabulary.to_ids(codes)
    except (VocabularyError, CodesError) as error:
        raise UsageError(str(error)) from error
    return vocabulary


def _composed(vocabulary: Vocabulary, config: JobConfig) -> Vocabulary:
    """With the text tokenizer and the runs that [compose] names; UsageError where documents need what is not there."""
    if config.compose is None:
        return vocabulary
    from ..vocab import Special

    if config.compose.text_tokenizer:
        from ..checkpoints.around_torchaudio import load_text_tokenizer

        vocabulary = vocabulary.with_text(load_text_tokenizer(config.compose.text_tokenizer))
    for modality, runs in config.compose.runs.items():
        vocabulary = vocabulary.with_runs(modality, num_codebooks=runs.num_codebooks, pattern=runs.pattern)
    form = config.compose.documents
    if form.kind != "item" and vocabulary.text_tokenizer is None:
        raise UsageError(
            f"documents of kind {form.kind!r} hold words: add compose.text_tokenizer, a folder or hub name"
        )
    vocabulary.to_ids([Special(token) for token in (form.bos, form.eos) if token])
    return vocabulary


def text_identity(vocabulary: Vocabulary | None) -> str:
    """SHA-256 of what a vocabulary's text tokenizer does to words; "" where there is none, or it is bytes."""
    tokenizer: Any = vocabulary.text_tokenizer if vocabulary else None
    if tokenizer is None or not hasattr(tokenizer, "get_vocab"):
        return ""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    told = backend.to_str() if backend is not None else json.dumps(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()
