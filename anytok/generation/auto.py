"""How transformers finds our Processor, and which options it hands on to it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ..errors import UsageError

__all__ = ["HANDED_ON", "refuse", "register"]

HANDED_ON = ("_from_auto", "trust_remote_code", "revision")  # by AutoProcessor, and nothing to us


def register(processor_class: type) -> None:
    """Make a processor's class known to AutoProcessor, by its name, if somebody has imported that: it takes seconds.

    transformers finds a registered processor by the `processor_class` in processor_config.json. It also maps it to a
    class of configs, for models without that file; ours have it always, so the class stands there for itself.
    """
    if (auto := sys.modules.get("transformers.models.auto.processing_auto")) is not None:
        auto.AutoProcessor.register(processor_class, processor_class, exist_ok=True)


def refuse(what: str, options: Mapping[str, Any], **usual: Any) -> None:
    """Raise UsageError on options that are not there, but for those that transformers hands on unset or as usual."""
    given = [key for key, value in options.items() if (value != usual[key] if key in usual else value)]
    if given:
        raise UsageError(f"{what} has no {', '.join(f'{key}={options[key]!r}' for key in given)}: leave it out")
