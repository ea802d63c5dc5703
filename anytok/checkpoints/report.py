"""State dict → module, strictly: nothing required may be missing, and what is left over is said."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ..errors import CheckpointError

__all__ = ["LoadReport", "load_state"]


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint gave: counts of tensors used, and the names that were left aside."""

    source: str
    used: int
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.source}: {self.used} tensors used"
        if not self.ignored:
            return text + ", none left over"
        groups: dict[str, int] = {}
        for key in self.ignored:
            groups[key.split(".")[0]] = groups.get(key.split(".")[0], 0) + 1
        shown = ", ".join(f"{name} ({count})" for name, count in sorted(groups.items()))
        return f"{text}, {len(self.ignored)} not needed and ignored: {shown}"


def load_state(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    ignored: Iterable[str] = (),
    published_name: Callable[[str], str] = str,
    as_stored: Container[str] = (),
) -> LoadReport:
    """Put `state` into `module`; its tensors become the module's own, in the module's type, or, if the module's names
    for them are in `as_stored`, in their own.

    `published_name` turns a name in the module into the name in `state`, which is the one users are told.
    Raises CheckpointError with the names that are missing and the shapes that differ.
    Keys of `state` that the module does not have are reported, together with `ignored`.
    """
    wanted = module.state_dict()
    names = {published_name(key): key for key in wanted}
    persistent = {name: wanted[key] for name, key in names.items()}
    missing = sorted(set(persistent) - set(state))
    if missing:
        raise CheckpointError(
            f"{source}: {len(missing)} of {len(persistent)} needed tensors are missing, the first of them "
            f"{', '.join(missing[:3])}: is this the right file for this tokenizer?"
        )
    for name, tensor in persistent.items():
        if state[name].shape != tensor.shape:
            raise CheckpointError(
                f"{source}: {name} has shape {list(state[name].shape)}, expected {list(tensor.shape)}: "
                "the weights are of another model or size (a config.json beside the weights gives the sizes)"
            )
    module.load_state_dict(
        {
            names[name]: state[name] if names[name] in as_stored else state[name].to(tensor.dtype)
            for name, tensor in persistent.items()
        },
        assign=True,
        strict=True,
    )
    left = sorted({*ignored, *(set(state) - set(persistent))})
    return LoadReport(source, len(persistent), tuple(left))
