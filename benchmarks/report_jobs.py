"""The reference of job files, from the dataclasses that read them."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from report_tables import Rows, table

from anytok.jobs import JobConfig

_HEADS = {  # in the order of the page
    "JobConfig": "At the top of the file",
    "SourceConfig": "[[sources]]",
    "TokenizerConfig": "[tokenizers.MODALITY]",
    "SinkConfig": "[[sinks]]",
    "RunConfig": "[run]",
    "ComposeConfig": "[compose]",
    "Form": "[compose.documents]",
    "RunsConfig": "[compose.runs.MODALITY]",
}


def job_keys() -> str:
    """A section a table of the file, with a row a key; raises KeyError on a table that has no heading here."""
    config = ConfigDict(use_attribute_docstrings=True)
    found = TypeAdapter(tuple[JobConfig], config=config).json_schema()["$defs"]
    if found.keys() != _HEADS.keys():
        raise KeyError(f"headings for {sorted(_HEADS)}, but tables {sorted(found)}")
    return "\n\n".join(_section(head, found[name]) for name, head in _HEADS.items())


def _section(head: str, schema: dict[str, Any]) -> str:
    needed = schema.get("required", ())
    rows: Rows = [
        (f"`{key}`", _kind(one), "needed" if key in needed else _default(one), _line(one["description"]))
        for key, one in schema["properties"].items()
    ]
    return f"## {head}\n\n{schema['description'].strip()}\n\n{table(('key', 'value', 'default', 'meaning'), rows)}"


def _kind(schema: dict[str, Any]) -> str:
    """What a value may be, in TOML's words."""
    if "anyOf" in schema:  # … or left out
        [schema] = [one for one in schema["anyOf"] if one != {"type": "null"}]
    if words := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{word}`" for word in words if word != "")
    kind = schema.get("type", "object")
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema["maximum"]
        above = "exclusiveMinimum" in schema
        bounds = f"above {low:,.0f}, {high:,.0f} at most" if above else f"{low:,.0f} to {high:,.0f}"
        return f"{'whole number' if kind == 'integer' else 'number'}, {bounds}"
    if kind == "array":
        return "list of texts" if schema["items"].get("type") == "string" else "tables"
    return {"string": "text", "boolean": "`true`, `false`", "object": "table"}[kind]


def _default(schema: dict[str, Any]) -> str:
    value = schema.get("default")
    return "" if value in (None, "", []) else f"`{json.dumps(value)}`"


def _line(text: str) -> str:
    return " ".join(text.split())
