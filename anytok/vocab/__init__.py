"""The shared vocabulary: ordered segments of ids; Codes ⇄ ids ⇄ text."""

from .hf import ByteTokenizer as ByteTokenizer
from .layout import Layout as Layout
from .layout import Segment as Segment
from .layout import build_layout as build_layout
from .layout import segment_of as segment_of
from .layouts import LAYOUTS as LAYOUTS
from .loading import build_vocabulary as build_vocabulary
from .loading import load_vocabulary as load_vocabulary
from .runs import Fault as Fault
from .runs import Part as Part
from .runs import Parts as Parts
from .runs import Report as Report
from .runs import Special as Special
from .runs import TextIds as TextIds
from .stream import Frames as Frames
from .stream import Stream as Stream
from .templates import TEMPLATES as TEMPLATES
from .templates import Message as Message
from .templates import Template as Template
from .vocabulary import Vocabulary as Vocabulary
