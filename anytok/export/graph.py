"""An ONNX graph that is written node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import MissingExtraError

__all__ = ["OPSET", "Graph", "require_onnx"]

OPSET = 18  # the first in which Pad takes axes


class Graph:
    """Nodes and constants in the order in which they were added. Values are named by strings, as in ONNX.

    `dtype` is that of weights and of what is computed with them, float32 or float16.
    """

    def __init__(self, dtype: type[np.floating] = np.float32) -> None:
        self.dtype = dtype
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._known: dict[tuple[int, ...], str] = {}

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The first output of a new node. An empty name leaves out an optional input."""
        from onnx import helper

        name = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: np.ndarray) -> str:
        """An array as it is."""
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def weight(self, values: np.ndarray) -> str:
        """An array in the dtype that the graph computes in."""
        return self.constant(values.astype(self.dtype))

    def integers(self, *values: int) -> str:
        """A vector of int64, as shapes, axes and paddings are given."""
        if values not in self._known:
            self._known[values] = self.constant(np.array(values, np.int64))
        return self._known[values]

    def cast(self, value: str, dtype: type[np.generic]) -> str:
        from onnx import helper

        return self.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def model(self, inputs: Mapping[str, _Type], outputs: Mapping[str, _Type], facts: Mapping[str, str]) -> Any:
        """The ModelProto. Types are (dtype, axes); an axis is a length, or a name where any length will do. `facts` are
        kept as the model's metadata."""
        from onnx import helper

        def typed(values: Mapping[str, _Type]) -> list[Any]:
            return [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), axes)
                for name, (dtype, axes) in values.items()
            ]

        graph = helper.make_graph(self._nodes, "anytok", typed(inputs), typed(outputs), self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="anytok")
        model.ir_version = min(model.ir_version, 10)  # what runtimes of the last years read
        helper.set_model_props(model, dict(facts))
        return model

    def output(self, name: str, value: str) -> None:
        """Give a value the name of an output."""
        from onnx import helper

        self._nodes.append(helper.make_node("Identity", [value], [name], name=name))


_Type = tuple[type[np.generic], Sequence[int | str]]


def require_onnx() -> None:
    """Raise MissingExtraError where a package of the extra `export` is absent."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(package, "export", "exporting to ONNX") from error
