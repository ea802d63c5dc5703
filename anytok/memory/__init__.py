"""A memory that keeps what it was given: words and media, media as codes, in the store of mem0."""

from .item import Change as Change
from .item import Item as Item
from .memory import Memory as Memory
from .memory import load_memory as load_memory
from .rules import Ask as Ask
from .rules import Decision as Decision
from .rules import Rules as Rules
from .rules import near_duplicate as near_duplicate
