"""SEED-2: pictures to 32 codes and back.

Legend: b batch, c channels, h height, w width, t codes of a picture, d their latent width, e embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...arguments import several, whole
from ...checkpoints.report import LoadReport, load_state
from ...checkpoints.seed import SeedFiles, fuse, published_name, read_seed
from ...errors import CheckpointError, UsageError
from ...media import Decoded
from ...models.quantize import margins_of
from ...models.seed import Seed, normalize
from ...models.unclip import Unclip
from ...spec import Codes, Spec
from ...tokenizer import Tokenizer
from ...torch_settings import full_float32, skeleton
from .cpu.linears import linear_weights, pack_linears
from .gpu.graph import GraphedFunction
from .precision import products_of, torch_dtype
from .seed_painter import Painter

__all__ = ["SeedTokenizer"]


class SeedTokenizer(Tokenizer):
    """The native SEED engine. `load_report` says which tensors were used and which were left over."""

    dtypes = ("float32", "float64", "bfloat16", "tf32", "float16")

    def __init__(
        self, spec: Spec, model: Seed, load_report: LoadReport, painter: Painter, *, batch_size: int, precision: str
    ) -> None:
        self.spec, self.load_report, self.float32_precision = spec, load_report, precision
        self._model, self._painter, self._batch_size = model, painter, batch_size
        self._latents = GraphedFunction(model.latents)

    @classmethod
    def load(
        cls,
        spec: Spec,
        checkpoint: str | Path | None = None,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        interpolation: str = "bicubic",
        batch_size: int | None = None,
        compile: bool = False,
        unclip: str | Path | Unclip | None = None,
        preset: str = "faithful",
        scheduler: str | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        noise_level: int = 0,
        decode_batch_size: int | None = None,
    ) -> SeedTokenizer:
        """Load `seed_quantizer.pt` and, for encoding, `eva_vit_g.pth` from `checkpoint` (fetched if None).

        `interpolation`, of 8 bits in float64, too: "bicubic" is AnyGPT's, "bilinear" SEED's scripts'; codes differ.
        `batch_size` pictures go through the encoder at once (default: 1 on a CPU, where more gains nothing, 32 on a
        GPU). With our own kernels it changes no bit of the latents; on GPUs it may. `compile` and the rest are for
        decoding: see `Painter`.
        """
        on_cpu = torch.device(device).type == "cpu"
        _check(interpolation, compile, on_cpu)
        defaults = (1, 1) if on_cpu else (32, 4)
        batch_size = whole("batch_size", defaults[0] if batch_size is None else batch_size, 1)
        kind = torch_dtype(dtype, device)
        files = read_seed(spec.name, checkpoint)
        with skeleton():
            model = Seed(**files.sizes, vision=files.has_vision, vision_dtype=kind)
        packs = on_cpu or dtype == "float64"
        state, as_stored = fuse(files.state), linear_weights(model) if packs else set()
        report = load_state(model, state, files.source, published_name=published_name, as_stored=as_stored)
        model = model.to(device)
        if packs:
            pack_linears(model)
        painter = Painter(
            _painting(files, unclip),
            embedding_dim=files.sizes["embedding_dim"], device=device, dtype=kind, sampling=files.sampling,
            preset=preset, scheduler=scheduler, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale,
            noise_level=noise_level, batch_size=defaults[1] if decode_batch_size is None else decode_batch_size,
            compile=compile,
        )  # fmt: skip
        spec = cls.identified(files.card(spec, interpolation=interpolation), files.identity(), dtype)
        return cls(spec, model.freeze(), report, painter, batch_size=batch_size, precision=products_of(dtype))

    @classmethod
    def read_codebooks(cls, spec: Spec, checkpoint: str | Path | None = None) -> np.ndarray:
        """The codebook's rows, float32 `[1, N, D]`; see `Tokenizer.read_codebooks`."""
        return read_seed(spec.name, checkpoint).state["quantize.embedding.weight"].float().numpy()[None]

    def _encode(self, prepared: Iterable[Decoded], *, margins: bool = False) -> list[Codes]:
        """`margins`: give each code's margin, too (`models.quantize.margins_of`)."""
        if self._model.visual_encoder is None:
            raise CheckpointError(
                f"{self.load_report.source}: encoding needs the ViT, eva_vit_g.pth, beside seed_quantizer.pt "
                "(see checkpoints.md for where to get it); decoding works without"
            )
        # Kernels on a GPU run while the next pictures are prepared: nothing here waits for their results.
        latents, images, codebook_nd = [], iter(prepared), self._model.codebook_nd
        dtype = codebook_nd.dtype
        while batch := list(islice(images, self._batch_size)):
            levels_bhwc = torch.from_numpy(np.stack([np.asarray(image) for image in batch]))
            latents.append(self._run(lambda levels_bhwc: self._latents(normalize(levels_bhwc, dtype)), levels_bhwc))
        if not latents:
            return []
        latents_btd = torch.cat(latents)
        if not bool(latents_btd.isfinite().all()):
            raise CheckpointError(
                f"{self.load_report.source}: the encoder gives NaN or infinity: its weights are damaged, or "
                f"overflow in {self._model.query_tokens.dtype}: try dtype='float32'"
            )
        with full_float32():  # the search is, whatever the precision
            codes_bt = self._run(self._model.quantize, latents_btd)
        each: Iterable[np.ndarray | None] = [None] * len(codes_bt)
        if margins:
            pairs = zip(latents_btd, codes_bt, strict=True)
            each = [margins_of(td, codes_t[None], codebook_nd[None]).cpu().numpy() for td, codes_t in pairs]
        codes = zip(codes_bt.cpu().numpy(), each, strict=True)
        return [Codes(row_t[None], self.spec, margins=margins_kt) for row_t, margins_kt in codes]

    def embed(self, codes: Sequence[Codes]) -> np.ndarray:
        """What the painter paints from: one CLIP ViT-H/14 image embedding (not normalised) per item, [items, 1024],
        float64 with that dtype, otherwise float32. Raises CodesError on foreign codes."""
        codes = several(codes, "embed([codes])")
        for item in codes:
            self.check(item)
        if not codes:
            return np.zeros((0, self._model.embedding_dim), np.float32)
        codes_bt = torch.from_numpy(np.concatenate([item.values for item in codes]))
        with self._shielded():
            return self._run(self._model.embed, codes_bt).cpu().numpy()

    def _decode(
        self,
        codes: Sequence[Codes],
        *,
        seeds: int | Sequence[int] = 0,
        negative: Codes | Sequence[Codes] | None = None,
    ) -> list[Decoded]:
        """Pictures of `codes`, PIL RGB (768 x 768 with the published painter).

        `seeds`: one for all, or one per picture; the same codes and seed give the same picture, alone or in
        any batch. `negative`: codes of what to steer away from, one for all or one per picture.
        Raises CodesError on foreign codes, CheckpointError where there is no unCLIP pipeline.
        """
        count = len(codes)
        each_seed = _seeds(seeds, count)
        each_negative = [negative] * count if isinstance(negative, Codes) else several(negative or [], "negative=codes")
        if len(each_seed) != count or len(each_negative) not in (0, count):
            raise UsageError(
                f"{count} codes, {len(each_seed)} seeds, {len(each_negative)} negatives: give one or one each"
            )
        negatives_be = self.embed(each_negative) if each_negative else None
        return self._painter.paint(self.embed(codes), each_seed, negatives_be)

    def _run(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """`function` of `rows`, batch by batch. The last batch is padded with zeros: every kernel sees one shape, so
        what it computes for an item cannot depend on how many others are there."""
        device = self._model.codebook_nd.device
        results = []
        for batch in rows.split(self._batch_size):
            full = F.pad(batch, (0, 0) * (batch.ndim - 1) + (0, self._batch_size - len(batch)))
            if pinned := device.type == "cuda" and full.device.type == "cpu":
                full = full.pin_memory()  # or the copy waits for all that the GPU has still to do
            results.append(function(full.to(device, non_blocking=pinned))[: len(batch)])
        return torch.cat(results)


def _check(interpolation: str, compile: bool, on_cpu: bool) -> None:
    if interpolation not in ("bicubic", "bilinear"):
        raise UsageError(f"interpolation {interpolation!r}; expected 'bicubic' or 'bilinear'")
    if compile and on_cpu:
        raise UsageError("compile is for GPUs; on a CPU the engine's products are packed already")


def _painting(files: SeedFiles, unclip: str | Path | Unclip | None) -> Callable[[], Path] | Unclip:
    """What to paint with: the user's, or what belongs to the other files."""
    if unclip is None or isinstance(unclip, Unclip):
        return unclip or files.unclip
    folder = Path(unclip).expanduser().absolute()
    return lambda: folder


def _seeds(seeds: int | Sequence[int], count: int) -> list[int]:
    each: Sequence[int] = seeds if np.ndim(seeds) else [seeds] * count  # type: ignore[assignment, list-item]
    return [whole("seed", seed, -(1 << 63), (1 << 64) - 1) for seed in each]  # torch's own limits
