"""The objects of the small world: emoji of Noto's colour font and shapes drawn here, in groups of eight.

The fourth and the eighth of each group are kept aside: no training sees them. Most are like one of their group that
is seen (🍅 and 🍎, 🎄 and 🌲): what comes back of it shows what a model makes of an object that is like those it knows.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "Kind", "kinds_of"]

_ASIDE_EVERY = 4

# Chosen to be told apart at a width of 40 pixels; shapes have any colours.
_EMOJI = {
    "animal heads": "🐶🐱🐰🐭🦊🐸🐷🐼",
    "animals": "🐢🐟🦋🐬🐌🐞🐧🐳",
    "plants": "🌵🌲🌻🌾🌹🍁🍄🎄",
    "food": "🍎🍌🍓🍅🍉🍔🍩🍊",
    "faces": "😀😎😡😃🤢🥶🤖😠",
    "vehicles": "🚗🚌🚲🚕🚀⛵🚜🚎",
    "buildings": "🏠🏰⛪🏡⛺🗼🌋🏫",
    "things": "⚽🎸🔑🪀💡🎁🎈🎻",
    "sky": "🌙⭐🌈🌟❄🔥🌍🌛",
}
_SHAPES = ("circle", "square", "triangle", "hexagon", "star", "house", "tree", "mushroom")


@dataclass(frozen=True)
class Kind:
    """What an object is. `name` is the emoji itself or a shape's name; `aside`: no training sees it."""

    name: str
    group: str
    drawn: bool
    aside: bool


def _kinds() -> tuple[Kind, ...]:
    groups = {group: tuple(emoji) for group, emoji in _EMOJI.items()} | {"shapes": _SHAPES}
    return tuple(
        Kind(name, group, group == "shapes", place % _ASIDE_EVERY == _ASIDE_EVERY - 1)
        for group, names in groups.items()
        for place, name in enumerate(names)
    )


KINDS = _kinds()


def kinds_of(*, aside: bool) -> list[int]:
    """The places in KINDS of those that training sees, or of those kept aside."""
    return [index for index, kind in enumerate(KINDS) if kind.aside == aside]
