"""Our own kernels for CPUs (csrc/), compiled when anytok was installed.

Where they are missing, torch's operations serve: slower, and equal but for last bits.

Legend: t time, b clips abreast, c channels, g gates (4 c), i and o inputs and outputs of a product, k its taps; or
k codebooks of n entries of dimension d.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .calls import call, constant, missing

__all__ = [
    "ShortGates",
    "dots",
    "elu",
    "few",
    "fits",
    "fits_dots",
    "fits_near",
    "fits_outputs",
    "has_half",
    "has_matrix",
    "lengthen",
    "lstm",
    "lstm_say",
    "missing",
    "moments",
    "pack",
    "pack_gates",
    "pack_plain",
    "products",
    "quantize",
    "rescale",
    "shorten",
    "snake",
]


# What can be multiplied, rows by weights, as csrc/products.h counts it.
_KINDS = {
    (torch.float32, torch.float32): 0,
    (torch.float32, torch.float16): 1,
    (torch.bfloat16, torch.bfloat16): 2,
    (torch.float32, torch.int32): 3,
}
_TILE = 32  # inputs that matrix units take at once


class ShortGates(NamedTuple):
    """What `pack_gates` gives, in three bytes a number: whole numbers times a power of two for each gate of a unit."""

    numbers: Tensor
    scales: Tensor


def fits(width: int) -> bool:
    """Whether `lstm` and `snake` can compute so many channels: they must fill whole registers."""
    return not missing() and width % constant("lanes") == 0


def has_half() -> bool:
    """Whether `products` and `lstm` are fast in bfloat16, too: it takes a CPU with AVX512_BF16 and gcc 10 or newer; and
    where there are matrix units (AMX), beside which all else is slow, the system's leave and gcc 11.

    Elsewhere they are correct, but oneDNN's are faster.
    """
    units = torch.cpu._is_amx_tile_supported()
    return not missing() and bool(constant("has_matrix" if units else "has_pairs"))


def has_matrix() -> bool:
    """Whether there are kernels for matrix units here."""
    return not missing() and bool(constant("has_matrix"))


def fits_outputs(count: int) -> bool:
    """Whether `products` can compute so many outputs: they must fill whole blocks of registers."""
    return not missing() and count % constant("block") == 0


def fits_dots(depth: int) -> bool:
    """Whether `dots` can compute sums of so many products: they must fill whole registers."""
    return not missing() and depth % constant("spread") == 0


def fits_near(entries: int, depth: int) -> bool:
    """Whether `quantize` can take a codebook in bfloat16, and gains by it: it must be deep, and a thread must have room
    for what it finds."""
    return fits_outputs(entries) and depth % _TILE == 0 and depth >= 512 and 2 * entries + depth <= 1 << 13


def pack(
    weight_oik: Tensor, gain_o: Tensor | None = None, gain_i: Tensor | None = None, backwards: bool = False
) -> Tensor:
    """Weights times gains in the order that `products` reads them in: [o, k * i].

    They may lie in memory in any order, their outputs may be several dimensions, and with `backwards` the last tap
    comes first.
    """
    *counts, inputs, taps = weight_oik.shape
    *apart, step, tap_step = weight_oik.stride()
    outputs, first = math.prod(counts), (0,) * len(counts)
    gains = [gain for gain in (gain_o, gain_i) if gain is not None]
    assert _size(weight_oik, *gains) == 4 and fits_outputs(outputs)
    assert (gain_o is None or len(gain_o) == outputs) and (gain_i is None or len(gain_i) == inputs)
    packed = weight_oik.new_empty(outputs, taps * inputs)
    call(
        "pack", len(counts), torch.tensor(counts), torch.tensor(apart),
        inputs, step, taps, -tap_step if backwards else tap_step,
        weight_oik[(*first, 0, taps - 1 if backwards else 0)],
        0 if gain_o is None else gain_o, 0 if gain_i is None else gain_i,
        outputs, packed, torch.get_num_threads(),
    )  # fmt: skip
    return packed


def pack_plain(weight_oi: Tensor) -> Tensor:
    """The same of weights that are to be taken as they are, also in float16; or in bfloat16, of an even number of
    inputs, which are taken in pairs."""
    numbers_oi = weight_oi.contiguous()
    if weight_oi.dtype == torch.bfloat16:
        numbers_oi = numbers_oi.view(torch.int32)
    blocks = numbers_oi.view(-1, constant("block"), numbers_oi.shape[1]).transpose(1, 2)
    return blocks.contiguous().view(weight_oi.dtype).view(weight_oi.shape)


def pack_gates(weight_gc: Tensor) -> Tensor:
    """The same for `lstm`, which computes the four gates of some units at once."""
    gates_guc = weight_gc.view(4, -1, constant("lanes"), weight_gc.shape[1])
    if weight_gc.dtype == torch.float32:
        return pack(gates_guc.transpose(0, 1).unsqueeze(-1))
    return gates_guc.unflatten(3, (-1, 2)).permute(1, 3, 0, 2, 4).contiguous()


def few() -> int:
    """Clips up to which short gates are the faster ones; more cannot go with them."""
    return constant("few")


def shorten(packed: Tensor) -> ShortGates | None:
    """Packed float32 gates in three bytes a number, each rounded by at most 2^-23 of the largest of its gate; None if
    that would lose more than float32 itself loses in sums of them: if a few are much larger than the others."""
    blocks, depth, lanes = len(packed) // constant("block"), packed.shape[1], constant("lanes")
    numbers, scales = torch.empty(blocks, depth, 3, lanes, dtype=torch.int32), packed.new_empty(blocks, 4, lanes)
    is_fine = call("shorten", blocks, depth, packed, numbers, scales, torch.get_num_threads())
    return ShortGates(numbers, scales) if is_fine else None


def lengthen(short: ShortGates) -> Tensor:
    """The same numbers in float32, packed."""
    blocks, depth, _, lanes = short.numbers.shape
    packed = short.scales.new_empty(blocks * 4 * lanes, depth)
    call("lengthen", blocks, depth, *short, packed, torch.get_num_threads())
    return packed


def products(packed: Tensor, bias_o: Tensor, rows_ti: Tensor, tiled: bool | None = None) -> Tensor:
    """x W^T + b, [t, i] → [t, o]. The rows may overlap: windows of a signal that is not copied.

    Rows are float32, and weights float32 or float16; or both bfloat16. The bias is float32. `tiled`: by matrix units,
    as it is where there are such, of bfloat16 and a multiple of 32 inputs.
    """
    (rows, depth), (pitch, step), kind = rows_ti.shape, rows_ti.stride(), _KINDS[rows_ti.dtype, packed.dtype]
    assert packed.shape == (len(bias_o), depth) and step == 1 and _size(bias_o) == 4
    if rows_ti.dtype == torch.bfloat16:
        assert depth % 2 == pitch % 2 == 0
        pitch, depth = pitch // 2, depth // 2
    out_to, first_1i = rows_ti.new_empty(rows, len(packed)), rows_ti[:1]
    sizes = (kind, _by_tiles(tiled, rows_ti), rows, pitch, depth, len(packed))
    call("products", *sizes, packed, bias_o, first_1i, out_to, torch.get_num_threads())
    return out_to


def dots(weight_oi: Tensor, bias_o: Tensor, rows_ti: Tensor) -> Tensor:
    """The same of weights that are not packed, for few outputs. The bias is float32, all others that or bfloat16."""
    (rows, depth), (pitch, step) = rows_ti.shape, rows_ti.stride()
    assert weight_oi.shape == (len(bias_o), depth) and step == 1 and _size(bias_o) == 4 and fits_dots(depth)
    out_to, sizes = rows_ti.new_empty(rows, len(bias_o)), (_size(weight_oi, rows_ti), rows, pitch, depth, len(bias_o))
    call("dots", *sizes, weight_oi, bias_o, rows_ti[:1], out_to, torch.get_num_threads())
    return out_to


def quantize(
    packed_knd: Tensor, bias_kn: Tensor, longest_k: Tensor, codebooks_knd: Tensor, latents_td: Tensor
) -> Tensor:
    """Codes [k, t] by residual vector quantization: each codebook's nearest entry e to what those before have left, the
    first among equals. `packed_knd` is `pack_plain` of all entries, the bias -|e|^2 / 2, `longest_k` the largest |e|;
    all are float32. Packed in bfloat16, as matrix units take them, they give the same codes."""
    books, entries, depth = codebooks_knd.shape
    assert packed_knd.shape == codebooks_knd.shape and bias_kn.shape == (books, entries) and fits_outputs(entries)
    assert _size(bias_kn, longest_k, codebooks_knd, latents_td) == 4 and latents_td.shape[1] == depth
    tiled = packed_knd.dtype == torch.bfloat16
    assert len(longest_k) == books and (not tiled or fits_near(entries, depth))
    residual_td = latents_td.clone(memory_format=torch.contiguous_format)
    codes_kt, sizes = torch.empty(books, len(latents_td), dtype=torch.int64), (len(latents_td), depth, books, entries)
    call("quantize", tiled, *sizes, packed_knd, bias_kn, longest_k, codebooks_knd, residual_td, codes_kt,
          torch.get_num_threads())  # fmt: skip
    return codes_kt


def lstm(
    packed: Tensor | ShortGates, heard_tbg: Tensor, hidden_tbc: Tensor, cell_bc: Tensor, tiled: bool | None = None
) -> None:
    """Take all steps. `heard_tbg` is what inputs and biases give; `hidden_tbc` has one frame more, of which the first
    is given and the others are written; `cell_bc`, float32, is replaced. The others are float32 or bfloat16; all are
    contiguous. `tiled`: by matrix units, as it is in bfloat16 where there are such."""
    (frames, clips, _), width, _ = heard_tbg.shape, cell_bc.shape[1], _size(heard_tbg, hidden_tbc)
    numbers, scales = packed if isinstance(packed, ShortGates) else (packed, packed[:0])
    assert _size(cell_bc) == 4 and (len(scales) == 0 or clips <= few())
    sizes = (_KINDS[hidden_tbc.dtype, numbers.dtype], _by_tiles(tiled, hidden_tbc), frames, clips, width)
    call("lstm", *sizes, numbers, scales, heard_tbg, hidden_tbc, cell_bc, torch.get_num_threads())


def lstm_say(gates_bg: Tensor, cell_bc: Tensor, hidden_bc: Tensor) -> None:
    """One step, of which the products are done: the new `cell_bc`, float32, in place of the old, and `hidden_bc`."""
    sizes = (_size(gates_bg, hidden_bc), *cell_bc.shape)
    assert _size(cell_bc) == 4
    call("lstm_say", *sizes, gates_bg, cell_bc, hidden_bc, torch.get_num_threads())


def elu(signal: Tensor, out: Tensor) -> Tensor:
    """x, or e^x - 1 below zero, into `out`, which may be `signal`. Both float32 or both bfloat16."""
    made = _whole(out)
    call("elu", _size(signal, out), signal.numel(), signal.contiguous(), made, torch.get_num_threads())
    return out if made is out else out.copy_(made)


def snake(signal_tc: Tensor, alpha_c: Tensor, inverse_c: Tensor, out_tc: Tensor) -> Tensor:
    """x + sin(alpha x)^2 * inverse into `out_tc`, which may be `signal_tc`; as in `elu`, the vectors float32."""
    made_tc, sizes = _whole(out_tc), (_size(signal_tc, out_tc), *signal_tc.shape)
    assert _size(alpha_c, inverse_c) == 4
    call("snake", *sizes, alpha_c, inverse_c, signal_tc.contiguous(), made_tc, torch.get_num_threads())
    return out_tc if made_tc is out_tc else out_tc.copy_(made_tc)


def moments(signal: Tensor) -> tuple[float, float]:
    """Mean and variance of all numbers, float32 or bfloat16, to about float32's precision."""
    count, part = signal.numel(), constant("part")
    sums_n2 = torch.empty(-(-count // part), 2, dtype=torch.float64)
    call("moments", _size(signal), count, signal.contiguous(), sums_n2, torch.get_num_threads())
    mean, square = (sums_n2.sum(0) / count).tolist()
    return mean, max(square - mean * mean, 0.0)


def rescale(signal_tc: Tensor, gain_c: Tensor, shift_c: Tensor) -> Tensor:
    """x * gain + shift, in place; the signal is contiguous, float32 or bfloat16, the vectors float32."""
    channels = signal_tc.shape[1]
    assert channels == len(gain_c) == len(shift_c) and _size(gain_c, shift_c) == 4
    frames = math.lcm(channels, constant("lanes")) // channels  # so many side by side fill registers
    if frames > 1:
        gain_c, shift_c = gain_c.repeat(frames), shift_c.repeat(frames)
    sizes = (_size(signal_tc), signal_tc.numel(), frames * channels)
    call("rescale", *sizes, gain_c, shift_c, signal_tc, torch.get_num_threads())
    return signal_tc


def _by_tiles(asked: bool | None, rows: Tensor) -> bool:
    """Whether matrix units are to take these rows: where there are such, unless it is said."""
    can = rows.dtype == torch.bfloat16 and rows.shape[-1] % _TILE == 0
    assert can or not asked
    return can and bool(constant("has_matrix")) if asked is None else asked


def _whole(out: Tensor) -> Tensor:
    """Itself, or memory in one piece of its shape."""
    return out if out.is_contiguous() else torch.empty(out.shape, dtype=out.dtype)


def _size(*tensors: Tensor) -> int:
    """The bytes of a number: 4 in float32, 2 in bfloat16."""
    (dtype,) = {tensor.dtype for tensor in tensors}
    assert dtype in (torch.float32, torch.bfloat16), dtype
    return dtype.itemsize
