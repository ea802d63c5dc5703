"""Stored codes → training sequences: documents of ids with a mask of what is learned, packed to a length. No torch."""

from .composer import Composer as Composer
from .composer import StoredItem as StoredItem
from .document import IGNORED as IGNORED
from .document import Document as Document
from .document import Sequence as Sequence
from .form import Form as Form
from .packing import Packer as Packer
from .packing import pack as pack
