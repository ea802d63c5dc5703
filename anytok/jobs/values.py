"""Values of tables and JSON files → text and metadata: decoded, or JSON, or refused; never Python's notation."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from ..errors import AnytokError, first_line

__all__ = ["MAX_TEXT", "Unreadable", "ValueRefused", "caption", "load_json", "plain", "reason_of", "text_of", "to_json"]

MAX_TEXT = 2**20  # bytes of a caption or a JSON file beside a medium
MAX_HEX = 64  # bytes of a binary value that are kept; longer ones are only described
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


class ValueRefused(ValueError):
    """A value that is no text, or has no form in JSON; the message says what it is."""


@dataclass(frozen=True)
class Unreadable:
    """A cell of a table that has no Python value: a date beyond its years, text that is no UTF-8."""

    reason: str


def text_of(value: Any) -> str | None:
    """Text as it is, bytes as UTF-8, numbers and dates as JSON and ISO 8601 write them; None for None.

    Raises ValueRefused for what is no text: lists, objects, NaN, other bytes.

    >>> text_of(b"W\\xc3\\xb6rter"), text_of(7), text_of(True)
    ('Wörter', '7', 'true')
    """
    if isinstance(value, bytes | bytearray):
        value = _decoded(value)
    if isinstance(value, str):
        return _unicode(value.removeprefix("\ufeff"))
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueRefused(f"{_NOT_FINITE[str(value)]} is no text")
    found = plain(value)
    if isinstance(found, list | dict):
        raise ValueRefused(f"a {'list' if isinstance(found, list) else 'table of names and values'} is no text")
    return found if isinstance(found, str | None) else to_json(found)


def plain(value: Any) -> Any:
    """A value as JSON (RFC 8259) has it: text, numbers, true and false, null, lists, and objects.

    Bytes become text where they are UTF-8, else their hexadecimal digits, or above 64 bytes their number and SHA-256;
    dates ISO 8601, durations seconds, decimals text; and since JSON has no such numbers, "NaN", "Infinity" and
    "-Infinity" text. Raises ValueRefused for anything else, and for text that UTF-8 cannot hold.

    >>> plain({"x": [1, float("nan"), b"\\xff", Decimal("1.50")]})
    {'x': [1, 'NaN', {'hex': 'ff'}, '1.50']}
    """
    if isinstance(value, str):
        return _unicode(value)
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _NOT_FINITE[str(value)]
    if isinstance(value, bytes | bytearray):
        return _described(bytes(value))
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {
            _unicode(name) if isinstance(name, str) else to_json(plain(name)): plain(one) for name, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    raise ValueRefused(value.reason if isinstance(value, Unreadable) else f"a {type(value).__name__} is no JSON")


def to_json(value: Any, *, ascii_only: bool = False) -> str:
    """One line of JSON as RFC 8259 has it. Raises ValueError on NaN and infinity, which have no place there."""
    return (_ASCII if ascii_only else _UNICODE).encode(value)


# json.dumps would make an encoder for each of a million lines.
_ASCII = json.JSONEncoder(allow_nan=False)
_UNICODE = json.JSONEncoder(allow_nan=False, ensure_ascii=False)


def load_json(text: str) -> Any:
    """JSON → Python. Raises ValueRefused where it is none, is nested too deeply, or has a name twice in one object."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueRefused("no JSON that can be read: it is nested too deeply") from error
    except ValueError as error:
        raise ValueRefused(str(error) if isinstance(error, ValueRefused) else f"no JSON ({error})") from error


def caption(data: bytes) -> str:
    """The text of a caption file, without a byte-order mark and white space around it. Raises ValueRefused."""
    if len(data) > MAX_TEXT:
        raise ValueRefused(f"more than the {MAX_TEXT} bytes that a text may have")
    return _decoded(data).strip()


def reason_of(error: BaseException) -> str:
    """Type and first line of what somebody's code has raised; of our own errors, which are written to be read, all."""
    name = type(error).__name__
    try:
        if isinstance(error, AnytokError | ValueRefused):
            return str(error).strip() or name
        first = first_line(error)
    except Exception:  # it cannot even say what it is
        return name
    return name if first == name else f"{name}: {first}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueRefused("a name is there twice in one JSON object")
    return found


def _decoded(data: bytes | bytearray) -> str:
    try:
        return bytes(data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueRefused(f"no UTF-8 text ({error.reason} at byte {error.start})") from error


def _unicode(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        found = text[error.start]
        if "\udc80" <= found <= "\udcff":  # a byte, as "surrogateescape" reads it
            what = f"byte 0x{ord(found) - 0xDC00:02x} at character {error.start}"
            raise ValueRefused(f"no UTF-8 text ({what}): is it in another encoding? Save it as UTF-8") from error
        raise ValueRefused(f"no Unicode text ({found!r} at character {error.start})") from error
    return text


def _described(data: bytes) -> Any:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        return text
    if len(data) <= MAX_HEX:
        return {"hex": data.hex()}
    return {"num_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
