"""Hostile and damaged media: each ends in a picture, a sound, or a MediaError; never in anything else, never late."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attacks.mutate import mutated
from attacks.pictures import PICTURES
from attacks.sounds import SOUNDS

from anytok import MediaError
from anytok.media.audio import load_audio
from anytok.media.image import load_image
from anytok.media.limits import Limits

# Pillow warns of odd tags that it passes over.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:PIL",
    "ignore::PIL.Image.DecompressionBombWarning",
    "error::pytest.PytestUnraisableExceptionWarning",
)


def _outcome(load: Any, source: Any, **options: Any) -> str:
    """ "ok" or the error's kind; anything but a MediaError goes through and fails the test."""
    try:
        loaded = load(source, **options)
    except MediaError as error:
        assert error.detail and len(str(error)) < 1000
        return error.kind
    if load is load_image:
        assert loaded.mode == "RGB"
    else:
        assert np.isfinite(loaded.wave).all() and loaded.wave.dtype == np.float32 and loaded.num_samples > 0
    return "ok"


def _agrees(outcome: str, expected: str) -> bool:
    return outcome == expected or (expected == "bad" and outcome != "ok")


@pytest.mark.parametrize("name", PICTURES)
def test_picture(name: str) -> None:
    make, expected = PICTURES[name]
    outcome = _outcome(load_image, make())
    assert _agrees(outcome, expected), f"{name}: {outcome}, expected {expected}"


@pytest.mark.parametrize("name", SOUNDS)
def test_sound(name: str) -> None:
    make, expected = SOUNDS[name]
    outcome = _outcome(load_audio, make())
    assert _agrees(outcome, expected), f"{name}: {outcome}, expected {expected}"


_SEEDS = 60
_SMALL = Limits(max_image_pixels=4_000_000, max_seconds=600, max_wave_bytes=2**28)


def _fuzz(load: Any, name: str, data: bytes) -> None:
    for seed in range(_SEEDS):
        start = time.monotonic()
        _outcome(load, mutated(data, seed), limits=_SMALL)
        assert time.monotonic() - start < 10, f"{name}, seed {seed}: took too long"


@pytest.mark.parametrize("name", [name for name, (_, expected) in PICTURES.items() if expected == "ok"])
def test_damaged_picture(name: str) -> None:
    _fuzz(load_image, name, PICTURES[name][0]())


@pytest.mark.parametrize("name", [name for name, (_, expected) in SOUNDS.items() if expected == "ok"])
def test_damaged_sound(name: str) -> None:
    _fuzz(load_audio, name, SOUNDS[name][0]())


def _paths(folder: Path) -> dict[str, tuple[Path, str]]:
    """Things in a file system that are not files, or cannot be read as what they seem."""
    folder.joinpath("folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    folder.joinpath("loop.png").symlink_to(folder / "loop.png")
    folder.joinpath("dangling.png").symlink_to(folder / "nowhere.png")
    folder.joinpath("empty.png").touch()
    with open(folder / "sparse.png", "wb") as file:
        file.truncate(10 * 2**30)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s.png"))
    return {
        "missing": (folder / "missing.png", "missing"),
        "a folder": (folder / "folder.png", "not_a_file"),
        "a pipe": (folder / "pipe.png", "not_a_file"),
        "a device": (Path("/dev/zero"), "not_a_file"),
        "a socket": (folder / "s.png", "not_a_file"),
        "a loop of links": (folder / "loop.png", "unreadable"),
        "a link to nothing": (folder / "dangling.png", "missing"),
        "a name too long": (folder / ("x" * 300), "unreadable"),
        "a zero byte in the name": (folder / "a\0b", "unreadable"),
        "no bytes": (folder / "empty.png", "empty"),
        "10 GB of nothing": (folder / "sparse.png", "too_large"),
    }


@pytest.mark.parametrize("load", [load_image, load_audio])
def test_paths(load: Any, tmp_path: Path) -> None:
    for name, (path, expected) in _paths(tmp_path).items():
        with pytest.raises(MediaError) as caught:
            load(path)
        assert caught.value.kind == expected, name
        assert caught.value.key == os.fsdecode(path), name


@pytest.mark.parametrize("name", ["a\nb.png", "-rf.png", "😀.png", os.fsdecode(b"\xff\xfe.png")])
def test_odd_names(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(PICTURES["PNG whole"][0]())
    assert load_image(tmp_path / name).size == (48, 32)
    assert load_image(str(tmp_path / name)).size == (48, 32)
