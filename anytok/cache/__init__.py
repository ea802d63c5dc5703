"""A cache of codes: what was encoded once is looked up, by the hash of the medium and of all that decides codes."""

from .tokenizer import CachedTokenizer as CachedTokenizer
from .tokenizer import Counts as Counts
from .tokenizer import cached as cached
