"""The vocabulary of a job: a published one or a file; where documents are made, with words and runs as asked."""

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
        vocabulary = _for_documents(vocabulary, config)
        for codes in probes:
            vocabulary.to_ids(codes)
    except (VocabularyError, CodesError) as error:
        raise UsageError(str(error)) from error
    return vocabulary


def _for_documents(vocabulary: Vocabulary, config: JobConfig) -> Vocabulary:
    """With the text tokenizer and the runs that the job, or its [compose], names; UsageError where documents need what
    is not there."""
    from ..vocab import Special
    from ..vocab.templates import find_template

    compose, key = config.compose, "compose.text_tokenizer" if config.compose else "text_tokenizer"
    name = compose.text_tokenizer if compose else config.text_tokenizer
    if name:
        from ..checkpoints.around_torchaudio import load_text_tokenizer

        vocabulary = vocabulary.with_text(load_text_tokenizer(name))
    for modality, runs in compose.runs.items() if compose else ():
        vocabulary = vocabulary.with_runs(modality, num_codebooks=runs.num_codebooks, pattern=runs.pattern)
    for form in [compose.documents] if compose else [sink.documents for sink in config.sinks if sink.documents]:
        if form.kind != "item" and vocabulary.text_tokenizer is None:
            raise UsageError(f"documents of kind {form.kind!r} hold words: add {key}, a folder or hub name")
        fixed = find_template(form.template).specials if form.template else ()
        vocabulary.to_ids([Special(token) for token in (form.bos, form.eos, *fixed) if token])
    return vocabulary


def text_identity(vocabulary: Vocabulary | None) -> str:
    """SHA-256 of what a vocabulary's text tokenizer does to words; "" where there is none, or it is bytes."""
    tokenizer: Any = vocabulary.text_tokenizer if vocabulary else None
    if tokenizer is None or not hasattr(tokenizer, "get_vocab"):
        return ""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    told = backend.to_str() if backend is not None else json.dumps(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()
