"""Which sinks can hold sequences and documents, and what a job must say for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..compose import Form
from ..errors import UsageError

if TYPE_CHECKING:
    from .config import JobConfig

__all__ = ["OF_SEQUENCES", "check_documents", "check_loss", "wants_texts"]

OF_SEQUENCES = ("parquet", "hf", "megatron", "litdata")  # the sinks that sequences and documents can go to
OF_IDS = ("megatron", "litdata")  # … of which these have no place for what is learned


def check_documents(job: JobConfig) -> None:
    """Raise UsageError where a sink cannot have the documents that it asks for."""
    forms = {sink.kind: sink.documents for sink in job.sinks if sink.documents}
    if job.text_tokenizer and not forms:
        raise UsageError(
            f"text_tokenizer = {job.text_tokenizer!r}: no sink has documents with texts; leave it out, or add "
            "documents = { … } to a sink (in a job with [compose], it stands there)"
        )
    for kind, form in forms.items():
        if job.compose or kind not in OF_SEQUENCES:
            has = "[compose] says what its documents are" if job.compose else f"only {', '.join(OF_SEQUENCES)} can"
            raise UsageError(f"sink {kind!r} cannot have documents: {has}; leave them out")
        if not job.vocabulary:
            raise UsageError(f'sink {kind!r} has documents of ids: add vocabulary = "anygpt" (or your own)')
        if form.is_grouped:
            raise UsageError(
                f"sink {kind!r}: a run writes each item by itself, and documents of kind {form.kind!r} with "
                f"document = {form.document!r} hold several: store codes, and make them with `anytok compose`"
            )
        check_loss(kind, form)
    for source in job.sources if wants_texts(job) else ():
        if source.kind in ("folder", "glob") and not source.text_suffix:
            raise UsageError(
                f"source {source.path!r} has no texts, and a sink has documents with them: add the suffix of the "
                'files that they are in, text_suffix = ".txt", or leave the documents out'
            )


def check_loss(kind: str, form: Form) -> None:
    """Raise UsageError where a sink has no place for what is learned."""
    if kind in OF_IDS and form.loss != "all":
        raise UsageError(
            f"sink {kind!r} holds ids alone, and loss = {form.loss!r} would be lost: "
            f'write parquet or hf, or say loss = "all"'
        )


def wants_texts(job: JobConfig) -> bool:
    """Whether a sink writes the text of each item."""
    return any(sink.documents and sink.documents.kind != "item" for sink in job.sinks)
