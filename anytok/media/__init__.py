"""Anything a user holds → exactly the model's input, and decoded tensors → files."""

from .audio import Audio as Audio
from .prepare import Decoded as Decoded
from .prepare import Media as Media
from .prepare import prepare as prepare
from .prepare import prepare_each as prepare_each
from .prepare import try_each as try_each
