"""Endless simple music: a key, a chord progression, a tune that walks through it, bass, and mostly drums."""

from __future__ import annotations

import random

from .midi import DRUMS, Score

__all__ = ["compose"]

_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 5, 7, 9, 10))
_PROGRESSIONS = ((0, 4, 5, 3), (0, 3, 4, 0), (5, 3, 0, 4), (0, 5, 1, 4), (0, 2, 3, 4), (0, 6, 3, 0), (1, 4, 0, 0))
_RHYTHMS = ((1,) * 4, (0.5, 0.5, 1, 1, 1), (1.5, 0.5, 1, 1), (0.5,) * 8, (2, 1, 1), (0.25, 0.25, 0.5, 1, 1, 1), (4,))
_TUNE = (0, 6, 9, 11, 13, 19, 22, 24, 27, 40, 41, 42, 56, 57, 60, 64, 65, 68, 71, 73, 75, 80, 81, 105, 107, 110)
_CHORDS = (0, 1, 4, 5, 7, 16, 18, 21, 24, 25, 26, 46, 48, 50, 51, 52, 61, 88, 89, 91)
_BASS = (32, 33, 34, 35, 36, 38, 39, 43, 58)
_KICK, _SNARE, _CLOSED_HAT, _OPEN_HAT, _CRASH = 36, 38, 42, 46, 49


def compose(rng: random.Random, bars: int = 16) -> Score:
    """A piece of `bars` bars of four beats; texture, instruments, key and tempo are drawn anew."""
    score = Score(tempo=rng.uniform(66, 150))
    scale, root = rng.choice(_SCALES), rng.randint(48, 59)
    progression = rng.choice(_PROGRESSIONS)
    solo = rng.random() < 0.2  # a tune alone, or a piano alone: the ear hears every flaw there
    for channel, programs in enumerate((_TUNE, _CHORDS, _BASS)):
        score.program(channel, rng.choice(programs))
    with_drums = not solo and rng.random() < 0.65
    step = rng.randint(0, 6)
    for bar in range(bars):
        degree = progression[bar % len(progression)]
        step = _tune_bar(score, rng, bar, scale, root, degree, step)
        if not solo or rng.random() < 0.3:
            _chord_bar(score, rng, bar, scale, root, degree)
        if not solo:
            _bass_bar(score, rng, bar, root - 12 + scale[degree])
        if with_drums:
            _drum_bar(score, rng, bar)
    return score


def _pitch(scale: tuple[int, ...], root: int, step: int) -> int:
    return root + 12 * (step // 7) + scale[step % 7]


def _tune_bar(
    score: Score, rng: random.Random, bar: int, scale: tuple[int, ...], root: int, degree: int, step: int
) -> int:
    """Write a bar; returns the scale step it ended on."""
    beat = 4.0 * bar
    for i, length in enumerate(rng.choice(_RHYTHMS)):
        # on the first beat a note of the chord, then mostly neighbours
        step = degree + rng.choice((0, 2, 4, 7)) if i == 0 else step + rng.choice((-2, -1, -1, 1, 1, 2, 3))
        step = min(12, max(-2, step))
        if rng.random() > 0.08:
            score.note(0, beat, length * rng.uniform(0.6, 1.0), _pitch(scale, root + 12, step), rng.randint(70, 120))
        beat += length
    return step


def _chord_bar(score: Score, rng: random.Random, bar: int, scale: tuple[int, ...], root: int, degree: int) -> None:
    pitches = [_pitch(scale, root, degree + third) for third in (0, 2, 4, 6)[: rng.choice((3, 3, 4))]]
    if rng.random() < 0.35:  # broken
        for i in range(8):
            score.note(1, 4 * bar + i / 2, 0.6, pitches[i % len(pitches)], rng.randint(50, 90))
        return
    times = rng.choice(((0,), (0, 2), (0, 1.5, 3), (0, 1, 2, 3)))
    for start, end in zip(times, (*times[1:], 4), strict=True):
        for pitch in pitches:
            score.note(1, 4 * bar + start, (end - start) * 0.95, pitch, rng.randint(50, 90))


def _bass_bar(score: Score, rng: random.Random, bar: int, pitch: int) -> None:
    for beat in rng.choice(((0, 2), (0, 1, 2, 3), (0, 1.5, 2.5), (0, 0.5, 2, 2.5))):
        score.note(2, 4 * bar + beat, 0.8, pitch + rng.choice((0, 0, 0, 7, 12)), rng.randint(70, 110))


def _drum_bar(score: Score, rng: random.Random, bar: int) -> None:
    if bar % 8 == 0:
        score.note(DRUMS, 4 * bar, 1, _CRASH, 90)
    for eighth in range(8):
        beat = 4 * bar + eighth / 2
        hat = _OPEN_HAT if eighth == 7 and rng.random() < 0.3 else _CLOSED_HAT
        score.note(DRUMS, beat, 0.25, hat, rng.randint(50, 90))
        if eighth in (0, 4) or rng.random() < 0.1:
            score.note(DRUMS, beat, 0.25, _KICK, rng.randint(90, 120))
        if eighth in (2, 6):
            score.note(DRUMS, beat, 0.25, _SNARE, rng.randint(80, 115))
