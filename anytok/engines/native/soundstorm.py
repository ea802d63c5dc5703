"""SoundStorm on CPUs and GPUs: clips of any lengths, one behind the other, pass by pass.

What is done for a row of a product, a norm or an activation does not depend on the rows beside it, and attention and
convolution see one clip at a time. So clips of any lengths go through the network together without padding, and each
has the codes that it has alone.

Legend: r rows, which are the frames of all clips, one clip behind the other; l layers of the codec, q levels (all
layers but the first), k codes; n frames of a clip, its prompt's first, t without; p frames of the prompt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...checkpoints.read import fingerprint
from ...checkpoints.report import LoadReport, load_state
from ...checkpoints.soundstorm import read_soundstorm
from ...errors import CheckpointError, UsageError
from ...models.filling import Filling, filling, num_passes
from ...models.soundstorm import SoundStorm
from ...torch_settings import skeleton
from ...voice import Clip
from .cpu.linears import pack_linears
from .precision import has_half_kernels, products_of, torch_dtype

__all__ = ["FastSoundStorm"]

_ROWS = 2048  # in one run of the network: 33 MB for the widest activation, 57 MB for the logits


class FastSoundStorm:
    """SoundStorm of `num_layers` layers, the first of which is given."""

    dtypes = ("float32", "bfloat16", "tf32", "float16")

    def __init__(self, network: SoundStorm, device: torch.device, report: LoadReport, weights: str, dtype: str) -> None:
        self._network, self._device, self.load_report = network, device, report
        self.codebook_size, self.num_layers = network.codebook_size, 1 + network.num_levels
        self.weights, self.float32_precision = weights, products_of(dtype)
        self._pads = device.type != "cpu"  # on GPUs how a product is summed depends on the number of rows: it is fixed

    @classmethod
    def load(cls, place: Path, *, device: str = "cpu", dtype: str = "float32") -> FastSoundStorm:
        """Load the published file, or the folder that it is in. In `dtype` are the products and attention; all else,
        and the choice of codes, is float32."""
        lower, on_cpu = torch_dtype(dtype, device), torch.device(device).type == "cpu"
        if lower != torch.float32 and on_cpu and not has_half_kernels():
            raise UsageError(f"dtype {dtype!r}: this CPU has no kernels for it; use float32")
        files = read_soundstorm(place)
        weights = fingerprint(files.state) + ("" if dtype == "float32" else f"+{dtype}")
        with skeleton():
            network = SoundStorm(**files.sizes.architecture())
        report = load_state(network, files.state, str(files.source), files.ignored)
        network.eval().requires_grad_(False)
        del files
        if lower != torch.float32:
            _lower(network, lower)
        if on_cpu:
            pack_linears(network)
        return cls(network.to(device), torch.device(device), report, weights, dtype)

    def fill(self, clips: Sequence[Clip], *, steps: int, greedy: bool) -> list[Tensor]:
        """Codes [l, t] of each clip."""
        from tqdm import tqdm

        groups, passes = list(_groups(clips)), num_passes(self._network.num_levels, steps)
        filled: list[Tensor] = []
        with tqdm(total=len(groups) * passes, desc="fill", unit="pass", delay=2, disable=None, leave=False) as bar:
            for group in groups:
                loops = [self._start(clip, steps, greedy) for clip in group]
                content_r = torch.cat([codes_n for clip in group for codes_n in (clip.prompt_lp[0], clip.content_t)])
                codes = [next(loop) for loop in loops]
                for _ in range(passes):
                    logits = self._logits(codes, content_r)
                    codes = [_sent(loop, each) for loop, each in zip(loops, logits, strict=True)]
                    bar.update()
                for clip, codes_nq in zip(group, codes, strict=True):
                    levels_qt = codes_nq[clip.prompt_lp.shape[1] :].T.cpu()
                    filled.append(torch.cat([clip.content_t[None], levels_qt]))
        return filled

    def _start(self, clip: Clip, steps: int, greedy: bool) -> Filling:
        """The loop of one clip, with numbers of its own: drawn on the CPU on every device, so that they are the same
        everywhere and in any company."""
        levels_qt = torch.full((self.num_layers - 1, len(clip.content_t)), self._network.mask)
        codes_nq = torch.cat([clip.prompt_lp[1:], levels_qt], dim=1).T
        rows, generator = codes_nq.numel(), torch.Generator().manual_seed(clip.seed)
        uniform = partial(torch.rand, rows, self.codebook_size, generator=generator, dtype=torch.float32)
        return filling(codes_nq.to(self._device), self.codebook_size, uniform, steps=steps, greedy=greedy)

    def _logits(self, codes: Sequence[Tensor], content_r: Tensor) -> list[Tensor]:
        """Logits [n, q, k] of each clip."""
        lengths = [len(codes_nq) for codes_nq in codes]
        codes_rq, content_r, padded = torch.cat(list(codes)), content_r.to(self._device), lengths
        if self._pads and (missing := -len(codes_rq) % _ROWS):
            codes_rq, content_r = F.pad(codes_rq, (0, 0, 0, missing)), F.pad(content_r, (0, missing))
            padded = [*lengths, missing]
        logits_rqk = self._network(codes_rq, content_r, padded)[: sum(lengths)].float()
        if not math.isfinite(logits_rqk.sum()):
            raise CheckpointError(
                f"{self.load_report.source}: the network gives NaN or infinity: its weights are damaged, or overflow "
                "in this precision: try dtype='float32'"
            )
        return list(logits_rqk.split(lengths))


def _groups(clips: Sequence[Clip]) -> Iterator[list[Clip]]:
    """Clips that go through the network together, in order."""
    group: list[Clip] = []
    for clip in clips:
        if group and sum(each.num_frames for each in group) + clip.num_frames > _ROWS:
            yield group
            group = []
        group.append(clip)
    if group:
        yield group


def _sent(loop: Filling, logits_nqk: Tensor) -> Tensor:
    """The loop's next codes, or its last."""
    try:
        return loop.send(logits_nqk)
    except StopIteration as end:
        return end.value


class _Rounded(nn.Module):
    """A linear layer in a lower precision between float32 ones."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype, keeps: bool) -> None:
        super().__init__()
        self.layer, self._dtype, self._out = layer.to(dtype), dtype, dtype if keeps else torch.float32

    def forward(self, rows_rd: Tensor) -> Tensor:
        return self.layer(rows_rd.to(self._dtype)).to(self._out)


def _lower(network: SoundStorm, dtype: torch.dtype) -> None:
    """Products in a lower precision, and attention, which gets its inputs in it."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(parent, name, _Rounded(layer, dtype, keeps=name == "qkv"))
