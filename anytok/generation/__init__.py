"""A language model reads and writes media: legal sampling, embeddings, processor, streaming."""

from .embeddings import codebook_vectors as codebook_vectors
from .embeddings import resize_embeddings as resize_embeddings
from .legal import LegalRuns as LegalRuns
from .processor import Processor as Processor
from .stream import DecoderStream as DecoderStream
from .stream import MediaStream as MediaStream
from .streamer import MediaStreamer as MediaStreamer
