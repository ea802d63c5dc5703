"""Damage to a good file, drawn from a seed: the kinds that disks, networks and attackers make."""

from __future__ import annotations

import random

__all__ = ["mutated"]


def mutated(data: bytes, seed: int) -> bytes:
    """`data` with one to three damages; the same for the same seed."""
    rng = random.Random(seed)
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        rng.choice([_cut, _flip_bits, _change_header, _zero, _repeat, _set_number])(out, rng)
    return bytes(out)


def _cut(out: bytearray, rng: random.Random) -> None:
    del out[rng.randint(1, max(1, len(out))) :]


def _flip_bits(out: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)


def _change_header(out: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 4)):
        out[rng.randrange(min(len(out), 128))] = rng.randrange(256)


def _zero(out: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(out))
    end = min(len(out), start + rng.randint(1, 64))
    out[start:end] = bytes(end - start)


def _repeat(out: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(out))
    out[start:start] = out[start : start + rng.randint(1, 256)]


def _set_number(out: bytearray, rng: random.Random) -> None:
    """A 32-bit number of the header becomes an extreme one."""
    at = rng.randrange(min(len(out), 128))
    number = rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
    out[at : at + 4] = number.to_bytes(4, rng.choice(["big", "little"]))
