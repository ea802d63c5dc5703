"""Tokenizers as ONNX files, for programs that run without Python or torch. See the README beside this file."""

from .export import ExportResult as ExportResult
from .export import export_onnx as export_onnx
