"""What a training loop reads: stored codes, composed on the fly, or composed sequences, as datasets of torch."""

from .codes import CodesDataset as CodesDataset
from .collator import Collator as Collator
from .epochs import EpochDataset as EpochDataset
from .sequences import SequenceDataset as SequenceDataset
