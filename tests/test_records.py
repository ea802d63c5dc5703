"""Plain data against the fields of dataclasses: what is wrong is named by file, key, what came and what is expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from anytok.errors import CheckpointError, JobError, UsageError
from anytok.records import AT_LEAST_ONE, Count, Share, Text, Within, build, check


@dataclass(frozen=True)
class Layer:
    width: Annotated[int, Within(1, 8)]
    kind: Literal["", "conv", "lstm"] = ""

    def __post_init__(self) -> None:
        if self.width == 7:
            raise UsageError("width=7: brings bad luck")


@dataclass(frozen=True)
class Model:
    name: Text
    layers: Annotated[tuple[Layer, ...], AT_LEAST_ONE]
    drop: Share = 0.0
    steps: Count | None = None
    causal: bool = False
    free: Any = None
    note: str = ""
    weights: Mapping[Literal["a", "b"], float] = field(default_factory=dict)
    main: Layer | None = None


PLAIN: dict[str, Any] = {"name": "x", "layers": [{"width": 2, "kind": "conv"}]}


def test_a_table_becomes_what_it_describes() -> None:
    more = {"drop": 1, "steps": None, "free": {"y": 1}, "weights": {"a": 1}, "main": {"width": 8}}
    found = build(Model, {**PLAIN, **more})
    wanted = Model("x", (Layer(2, "conv"),), 1.0, None, free={"y": 1}, weights={"a": 1.0}, main=Layer(8))
    assert found == wanted and type(found.drop) is float
    assert build(Model, {**PLAIN, "layers": [Layer(3)]}).layers == (Layer(3),)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": " "}, "a.toml: m.name=' ': expected text in quotes"),
        ({"name": "a\0"}, "a.toml: m.name='a\\x00': expected text"),
        ({"note": 3}, "a.toml: m.note=3: expected text"),
        ({"layers": []}, "a.toml: m.layers=[]: expected a list of at least one, tables"),
        ({"layers": {"width": 1}}, "a.toml: m.layers={'width': 1}: expected a list"),
        ({"layers": [3]}, "a.toml: m.layers[0]=3: expected a table"),
        ({"layers": [{"width": 1}, {"width": 9}]}, "a.toml: m.layers[1].width=9: expected a whole number, 1 to 8"),
        ({"layers": [{"width": True}]}, "a.toml: m.layers[0].width=True: expected a whole number"),
        ({"layers": [{"width": 1, "kind": "lsmt"}]}, "kind='lsmt': expected 'conv', 'lstm'; did you mean 'lstm'?"),
        ({"layers": [{"widht": 1}]}, "m.layers[0]: unknown key 'widht'; did you mean 'width'?; known: width, kind"),
        ({"layers": [{"widht": 1}], "name": 3}, "m.layers[0]: missing 'width'; m.name=3: expected text"),
        ({"layers": [{"width": 7}]}, "a.toml: m.layers[0]: width=7: brings bad luck"),
        ({"drop": "0.5"}, "a.toml: m.drop='0.5': expected a number, 0 to 1"),
        ({"drop": float("nan")}, "a.toml: m.drop=nan: expected a number, 0 to 1"),
        ({"drop": True}, "a.toml: m.drop=True: expected a number"),
        ({"steps": -1}, "a.toml: m.steps=-1: expected a whole number, 0 to"),
        ({"causal": 0}, "a.toml: m.causal=0: expected true or false"),
        ({"weights": {"c": 1}}, "a.toml: m.weights.[key]='c': expected 'a', 'b'"),
        ({"weights": {"a": "1"}}, "a.toml: m.weights.a='1': expected a number"),
        ({"weights": {"a": float("inf")}}, "a.toml: m.weights.a=inf: expected a number"),
        ({"main": {"kind": "x", "size": 3}}, "m.main: missing 'width'; m.main.kind='x': expected 'conv'"),
        ({"main": 1}, "a.toml: m.main=1: expected a table"),
        ({3: 1}, "a.toml: m: unknown key '3'; known: name, layers"),
        ({"note": ["x" * 10**6]}, "…: expected text"),
        ({"note": "\udcff"}, "a.toml: m: text that is no Unicode"),
        ({"free": {"a": object()}}, "expected text, a number, true or false, a list or a table"),
        ({"name": b"x"}, "b'x': expected text, a number"),
    ],
)
def test_what_is_wrong_is_named(change: dict[Any, Any], said: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        build(Model, {**PLAIN, **change}, "a.toml", CheckpointError, key="m")
    assert said in str(caught.value) and len(str(caught.value)) < 400


def test_what_is_no_table_is_refused() -> None:
    for record in (None, 3, [PLAIN], "name"):
        with pytest.raises(UsageError, match=r"a\.toml: this=.*: expected a table of settings"):
            build(Model, record, "a.toml")


@dataclass
class Checked:
    sizes: tuple[int, ...]
    rate: float

    def __post_init__(self) -> None:
        check(self, JobError)


def test_dataclasses_that_users_make_may_check_themselves() -> None:
    one = Checked([np.int64(3)], np.float32(2))  # type: ignore[arg-type]
    assert one == Checked((3,), 2.0) and type(one.sizes[0]) is int and type(one.rate) is float
    with pytest.raises(JobError, match=r"^sizes\[1\]='4': expected a whole number"):
        Checked((3, "4"), 2.0)  # type: ignore[arg-type]
