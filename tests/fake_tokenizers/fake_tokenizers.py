"""Tokenizers for tests of jobs: a millisecond an item, no torch, and dangerous media on demand.

They come in as anyone's would: a folder on the path with an entry point. The first sample of a recording can be a
trigger: see TRIGGERS. FAKE_OOM_FRAMES makes larger batches run out of memory, FAKE_WEIGHTS changes the id. FAKE_COUNT
names a file that gets a byte for each item encoded.
"""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from anytok.errors import CheckpointError, MediaError
from anytok.spec import Codes, Spec
from anytok.tokenizer import Tokenizer

REFUSED, DEADLY, ENDLESS = 0.5, 0.25, 0.125  # first samples: encode raises MediaError; the process dies; it hangs
WEIGHTS = os.environ.get("FAKE_WEIGHTS", "0123456789ab")


class Fake(Tokenizer):
    spec: Spec

    @classmethod
    def load(cls, spec, checkpoint=None, *, device="cpu", dtype="float32", milliseconds=1.0):
        if checkpoint not in (None, "some/model"):  # as hubs call theirs
            raise CheckpointError(f"no model is called {checkpoint}")
        made = cls()
        made.seconds = milliseconds / 1000
        return made

    def _encode(self, prepared):
        ready = list(prepared)
        if path := os.environ.get("FAKE_COUNT"):
            with open(path, "ab") as stream:
                stream.write(b"." * len(ready))
        time.sleep(self.seconds * len(ready))
        return [self.codes(one) for one in ready]

    def _decode(self, codes):
        raise NotImplementedError

    def values(self, numbers, frames):
        """Codes that depend on every number given, and on the place."""
        books = np.arange(1, self.spec.num_codebooks + 1)[:, None]
        place = np.arange(frames)[None]
        return (numbers[None] * books * 31 + place * books) % self.spec.codebook_size


class FakeSound(Fake):
    def _encode(self, prepared):
        ready = list(prepared)
        frames = [self.spec.frames_of(one.num_samples) for one in ready]
        if max(frames) * len(frames) > float(os.environ.get("FAKE_OOM_FRAMES", "inf")):
            raise MemoryError("a batch too large")
        for one in ready:
            if one.wave[0, 0] == DEADLY:
                os.kill(os.getpid(), signal.SIGKILL)
            if one.wave[0, 0] == ENDLESS:
                time.sleep(1000)
            if one.wave[0, 0] == REFUSED:
                raise MediaError("refused", "the fake model does not like it")
        return super()._encode(ready)

    def codes(self, audio):
        frames = self.spec.frames_of(audio.num_samples)
        whole = np.zeros(frames * self.spec.hop_length, np.float32)
        whole[: audio.num_samples] = audio.wave[0]
        sums = np.abs(whole.reshape(frames, -1) * 32768).round().astype(np.int64).sum(1)
        return Codes(self.values(sums, frames), self.spec, audio.num_samples)


class FakeSpeech(FakeSound):
    spec = Spec(
        "fake-speech", "speech", 2, 1024, frame_rate=50, sample_rate=16000, channels=1,
        preprocessing="first:functional", id=f"fake-speech@{WEIGHTS}",
    )  # fmt: skip


class FakeMusic(FakeSound):
    spec = Spec(
        "fake-music", "music", 4, 2048, frame_rate=50, sample_rate=16000, channels=1,
        preprocessing="first:functional", id=f"fake-music@{WEIGHTS}",
    )  # fmt: skip


class FakeImage(Fake):
    spec = Spec(
        "fake-image", "image", 1, 8192, num_frames=32, image_size=32, preprocessing="bicubic",
        id=f"fake-image@{WEIGHTS}",
    )  # fmt: skip

    def codes(self, image):
        rows = np.asarray(image, np.int64).sum((1, 2))
        return Codes(self.values(rows, 32), self.spec)


def _deadly_file_system():
    """A file system whose files kill their reader, hang, or raise: deadly://kill/x.wav. Also by entry point."""
    from fsspec import AbstractFileSystem

    class Deadly(AbstractFileSystem):
        protocol = "deadly"

        def _open(self, path, mode="rb", **options):
            what = path.split("://")[-1].split("/")[0]
            if what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "hang":
                time.sleep(1000)
            raise ZeroDivisionError("a fault of somebody's")

    return Deadly


def __getattr__(name):
    if name == "DeadlyFileSystem":
        return _deadly_file_system()
    raise AttributeError(name)
