"""Sentences to read aloud: our own small grammar, filled at random, so that every phone of English comes often."""

from __future__ import annotations

import random

__all__ = ["sentence"]


def _phrases(text: str) -> list[str]:
    return text.split("|")


_PEOPLE = _phrases(
    "the young judge|my older cousin|a quiet fisherman|our neighbour Joyce|the chief engineer|every third visitor|"
    "Thomas and Ruth|the queen of chess|a shy violinist|the night watchman|his former teacher|nobody in the village|"
    "the boy with the kite|two thirsty cyclists|the vet from Oxford|a famous author|George|the whole choir"
)
_VERBS = _phrases(
    "put away|measured|photographed|threw out|borrowed|polished|could not find|has always loved|will soon exchange|"
    "used to collect|carefully wrapped|forgot about|pulled down|asked for|should have washed|is going to choose|"
    "drew a picture of|cheerfully fixed|shook|watched"
)
_THINGS = _phrases(
    "seven yellow boats|the broken vase|a jar of cherry jam|the noisy engine|those thick wool gloves|a bowl of soup|"
    "the old church bell|her new shoes|some fresh orange juice|the wooden bridge|a basket of pears|his birthday cake|"
    "the azure curtains|both blue envelopes|a pair of scissors|the thin leather book|nine large mushrooms|"
    "the toy horse|"
    "an unusual treasure|the garage door|a cup of hot chocolate|the map of Asia"
)
_PLACES = _phrases(
    "behind the barn|near the harbour|on the fourth of July|under a huge oak|in the early morning|by the garden path|"
    "for the third time|at the edge of town|with great pleasure|before the rain came|without saying why|over there|"
    "while the children slept|during the long voyage|in spite of the weather|just around the corner"
)
_OPENINGS = _phrases(
    "Yesterday|I think that|As far as we know|Oh|Believe it or not|Every Thursday|In those days|Please remember that|"
    "It was said that|After lunch|Perhaps|Last year|To our surprise|You might have heard that"
)
_WHOLE = _phrases(
    "How much would you pay for such a view?|Which of these roads goes to the beach?|Why are they laughing so loudly?|"
    "The weather should be fair, with a light breeze from the south.|Give me five minutes, and I will join you.|"
    "Fresh bread smells better than anything else in the house.|Zoe's garage is full of rusty bicycles.|"
    "Do you enjoy the cool shade of the beech trees?|Three thousand birds flew over the valley.|"
    "A vague measure of pleasure is not a vision.|The ship's captain checked the chart, then changed course.|"
    "Whose youth was spent among books and music?|Boys and girls jumped joyfully into the pool."
)
_NUMBERS = _phrases("zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirty|forty|hundred")


def sentence(random_state: random.Random) -> str:
    """One sentence, two to five seconds when read: a scene, a question, or a row of numbers."""
    kind = random_state.random()
    if kind < 0.1:
        return ", ".join(random_state.choices(_NUMBERS, k=random_state.randint(4, 8))) + "."
    if kind < 0.25:
        return random_state.choice(_WHOLE)
    scene = " ".join(random_state.choice(words) for words in (_PEOPLE, _VERBS, _THINGS, _PLACES))
    return f"{random_state.choice(_OPENINGS)}, {scene}." if kind < 0.6 else f"{scene[0].upper()}{scene[1:]}."
