"""Weights: cards of what is published, fetching, safe reading, strict loading."""

from .cards import CARDS as CARDS
from .cards import Card as Card
from .cards import RemoteFile as RemoteFile
from .fetch import fetch as fetch
from .fetch import published as published
