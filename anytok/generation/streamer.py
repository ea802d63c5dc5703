"""A streamer for transformers' `generate`: what the model writes, as words and media, while it writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from .stream import MediaStream

if TYPE_CHECKING:
    from .processor import Processor

__all__ = ["MediaStreamer"]


class MediaStreamer:
    """`model.generate(…, streamer=MediaStreamer(processor))`, then iterate over it: str, Audio pieces and PIL images,
    in order, each as soon as it is certain.

    As transformers' TextIteratorStreamer, it is read by one thread while `generate` runs in another, or in the same
    thread afterwards. `skip_prompt` leaves the prompt out, but for a run of media that it opens;
    `skip_special_tokens` is that of `Processor.decode`. Without a piece for `timeout` seconds, reading raises
    TimeoutError. `policy` and `options` are those of `MediaStream`; what it raises, `generate` and the reader raise.
    It serves one call of `generate` after another, each until the end of its iteration.
    """

    def __init__(
        self,
        processor: Processor,
        *,
        skip_prompt: bool = True,
        skip_special_tokens: bool = False,
        timeout: float | None = None,
        policy: str = "truncate",
        **options: Any,
    ) -> None:
        self._processor, self._policy, self._options = processor, policy, options
        self._skip_prompt, self._timeout = skip_prompt, timeout
        self._skipped = sorted(processor.skipped_ids) if skip_special_tokens else []
        self._queue: Queue[Any] = Queue()
        self._stream, self._is_prompt = self._open(), True

    @property
    def report(self) -> Any:
        """What was wrong with the ids so far; see `Vocabulary.from_ids`."""
        return self._stream.report

    def put(self, value: Any) -> None:
        """Take the prompt `[1, N]`, then new ids `[n]`; `generate` calls this. Raises UsageError on several rows."""
        ids = np.asarray(value)
        if self._is_prompt:
            self._stream = self._open()
        with self._telling():
            if ids.ndim > 1 and len(ids) > 1:
                raise UsageError(f"ids of {len(ids)} rows: a streamer takes one prompt at a time")
            ids = ids.reshape(-1)
            if self._is_prompt and self._skip_prompt:
                ids = ids[self._processor.any2any.vocabulary.open_run(ids) :]
            for piece in self._stream.push(ids[~np.isin(ids, self._skipped)]):
                self._queue.put(piece)
        self._is_prompt = False

    def end(self) -> None:
        """The model stops here; `generate` calls this."""
        with self._telling():
            for piece in self._stream.finish():
                self._queue.put(piece)
        self._is_prompt = True
        self._queue.put(None)

    def _open(self) -> MediaStream:
        return MediaStream(self._processor.any2any, self._policy, **self._options)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """An error that leaves `generate` also reaches who reads, who would wait for ever."""
        try:
            yield
        except Exception as error:
            self._is_prompt = True
            self._queue.put(error)
            raise

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            piece = self._queue.get(timeout=self._timeout)
        except Empty:
            raise TimeoutError(f"no piece came for {self._timeout} s: is generate still running?") from None
        if piece is None:
            raise StopIteration
        if isinstance(piece, Exception):
            raise piece
        return piece
