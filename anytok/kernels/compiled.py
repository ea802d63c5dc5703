"""The kernels in C (csrc/), as hatch_build.py compiled them for one kind of CPU, called through ctypes.

Legend: t rows or time, o outputs, i inputs, k taps; b clips, c units of an LSTM, g gates (4 c); or k codebooks of n
entries of d dimensions.
"""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .portable import Codebooks
from .weights import Weights

__all__ = ["Compiled", "Int24Gates"]

# What can be multiplied, (rows, weights), as csrc/products.h numbers it.
_KINDS = {
    (torch.float32, torch.float32): 0,
    (torch.float32, torch.float16): 1,
    (torch.bfloat16, torch.bfloat16): 2,
    (torch.float32, torch.int32): 3,  # Int24Gates
}
_GEMV_OUTPUTS = 2  # a codec's last layer has one or two
_TILE = 32  # bfloat16 inputs that AMX takes at a time


class Int24Gates(NamedTuple):
    """Recurrent weights as 24-bit integers, those of a unit's four gates in three int32; the gates' powers of two."""

    words: Tensor
    scales: Tensor


class Compiled:
    """One build. Tensors lie on the CPU and are float32 or bfloat16; what is neither is refused by an assertion, since
    C would read it as something else. Biases, gains and cells are float32. Threads are torch's.

    A row of a result depends on its own inputs alone: neither on the rows beside it nor on the number of threads.
    """

    wide = torch.float32  # of biases, gains and cells

    def __init__(self, name: str, path: Path) -> None:
        self.name, self._library = name, ctypes.CDLL(str(path))
        self.lanes, self.block = self._call("lanes"), self._call("block")  # float32 in a register; outputs in a block
        self.has_pairs, self.has_amx = bool(self._call("has_pairs")), bool(self._call("has_amx"))
        self._gemv_depth, self._part = self._call("gemv_depth"), self._call("part")
        self.int24_rows = self._call("int24_rows")  # the largest batch for int24 weights

    def pack(self, weights: Weights, dtype: torch.dtype) -> Tensor:
        """A convolution's weights, multiplied out, as `products` reads them for windows [k * i]."""
        parts, outputs = weights.parts_oik, weights.outputs
        *sizes, inputs, taps = parts.shape
        *strides, stride, tap_stride = parts.stride()
        if dtype != torch.float32 or self._is_gemv(outputs, inputs * taps):
            return self.pack_plain(weights.plain().to(dtype).flatten(1))
        gains = [gain for gain in (weights.gain_o, weights.gain_i) if gain is not None]
        assert _size(parts, *gains) == 4
        assert weights.gain_o is None or len(weights.gain_o) == outputs
        assert weights.gain_i is None or len(weights.gain_i) == inputs
        packed = parts.new_empty(self._padded(outputs), taps * inputs)
        first = (*(0 for _ in sizes), 0, taps - 1 if weights.backwards else 0)
        self._call(
            "pack", len(sizes), torch.tensor(sizes), torch.tensor(strides),
            inputs, stride, taps, -tap_stride if weights.backwards else tap_stride, parts[first],
            0 if weights.gain_o is None else weights.gain_o, 0 if weights.gain_i is None else weights.gain_i,
            outputs, packed, torch.get_num_threads(),
        )  # fmt: skip
        return packed

    def pack_plain(self, weight_oi: Tensor) -> Tensor:
        """Weights of a linear layer, float32, float16 or bfloat16, in the type they come in."""
        outputs, inputs = weight_oi.shape
        if self._is_gemv(outputs, inputs):
            return (weight_oi.float() if weight_oi.dtype == torch.float16 else weight_oi).contiguous()
        missing, odd = self._padded(outputs) - outputs, inputs % 2 if weight_oi.dtype == torch.bfloat16 else 0
        padded_oi = F.pad(weight_oi, (0, odd, 0, missing)) if missing or odd else weight_oi.contiguous()
        numbers_oi = padded_oi.view(torch.int32) if weight_oi.dtype == torch.bfloat16 else padded_oi  # pairs
        whole = outputs // self.block * self.block
        blocks = numbers_oi[:whole].view(-1, self.block, numbers_oi.shape[1]).transpose(1, 2).flatten()
        if whole < outputs:
            blocks = torch.cat([blocks, numbers_oi[whole:].T.flatten()])
        return blocks.view(weight_oi.dtype).view(padded_oi.shape)

    def pack_gates(self, weight_gc: Tensor) -> Tensor:
        """Recurrent weights [4 c, c] for `lstm`, float32 or bfloat16; c is a multiple of `lanes`."""
        gates_guc = weight_gc.view(4, -1, self.lanes, weight_gc.shape[1]).transpose(0, 1)
        return self.pack(Weights(gates_guc.unsqueeze(-1)), weight_gc.dtype)

    def quantize_gates(self, packed: Tensor) -> Int24Gates | None:
        """Packed float32 gates, each weight rounded by at most 2^-23 of the largest of its gate. None if one is not
        finite, or if rounding loses more than float32 sums do: where few weights are much larger than the others."""
        width = packed.shape[1]
        assert _size(packed) == 4 and packed.shape == (4 * width, width) and width % self.lanes == 0
        made = Int24Gates(torch.empty(3 * width, width, dtype=torch.int32), packed.new_empty(4 * width))
        sizes = (width // self.lanes, width)
        return made if self._call("quantize_int24", *sizes, packed, *made, torch.get_num_threads()) else None

    def dequantize_gates(self, gates: Int24Gates) -> Tensor:
        """The same numbers as packed float32 gates."""
        width = gates.words.shape[1]
        packed = gates.scales.new_empty(4 * width, width)
        self._call("dequantize_int24", width // self.lanes, width, *gates, packed, torch.get_num_threads())
        return packed

    def products(self, packed: Tensor, bias_o: Tensor, rows_ti: Tensor, tiled: bool | None = None) -> Tensor:
        """x W^T + b: [t, i] → [t, o], in the rows' type. Rows may overlap: windows of a signal that is not copied.

        float32 rows take weights in float32 or float16, bfloat16 rows take bfloat16. `tiled`: by AMX, in bfloat16 and
        of a multiple of 32 inputs; by default where the build has it.
        """
        (rows, depth), outputs, step = rows_ti.shape, len(bias_o), rows_ti.stride(1)
        assert step == 1 and _size(bias_o) == 4
        if self._is_gemv(outputs, depth):
            return self._gemv(packed, bias_o, rows_ti)
        pitch, kind = rows_ti.stride(0), _KINDS[rows_ti.dtype, packed.dtype]
        if rows_ti.dtype == torch.bfloat16:
            if depth % 2 or pitch % 2:
                rows_ti = F.pad(rows_ti, (0, depth % 2)).contiguous()
                pitch = depth = rows_ti.shape[1]
            pitch, depth = pitch // 2, depth // 2
        assert packed.shape == (self._padded(outputs), rows_ti.shape[1])
        made_to, by_amx = rows_ti.new_empty(rows, outputs), self._by_amx(tiled, rows_ti)
        self._call("products", kind, by_amx, rows, pitch, depth, outputs, packed, bias_o, rows_ti[:1], made_to,
                   torch.get_num_threads())  # fmt: skip
        return made_to

    def lstm(
        self, packed: Tensor | Int24Gates, inputs_tbg: Tensor, hidden_tbc: Tensor, cell_bc: Tensor,
        tiled: bool | None = None,
    ) -> None:  # fmt: skip
        """All steps of a layer. `inputs_tbg` are the input projections with biases; `hidden_tbc` has one frame more,
        of which the first is given and the others are written; `cell_bc`, float32, is replaced. The others are float32
        or bfloat16; all are contiguous. `tiled` as in `products`. Int24Gates take up to `int24_rows` float32 clips."""
        (frames, clips, _), width = inputs_tbg.shape, cell_bc.shape[1]
        weight, scales = packed if isinstance(packed, Int24Gates) else (packed, packed[:0])
        assert weight.shape == ((3 if len(scales) else 4) * width, width) and width % self.lanes == 0
        assert _size(cell_bc) == 4 and (len(scales) == 0 or clips <= self.int24_rows)
        assert inputs_tbg.shape == (frames, clips, 4 * width) and hidden_tbc.shape == (frames + 1, clips, width)
        assert _size(inputs_tbg, hidden_tbc, scales)
        sizes = (_KINDS[hidden_tbc.dtype, weight.dtype], self._by_amx(tiled, hidden_tbc), frames, clips, width)
        self._call("lstm", *sizes, weight, scales, inputs_tbg, hidden_tbc, cell_bc, torch.get_num_threads())

    def pack_codebooks(self, entries_knd: Tensor) -> Codebooks:
        """float32 entries for `quantize`."""
        books, count, depth = entries_knd.shape
        bias_kn = torch.stack([-0.5 * entries_nd.square().sum(1) for entries_nd in entries_knd])
        missing = -count % self.block
        if missing:  # entries that no latent is nearest to
            entries_knd = F.pad(entries_knd, (0, 0, 0, missing))
            bias_kn = F.pad(bias_kn, (0, missing), value=-math.inf)
        packed = self.pack_plain(entries_knd.flatten(0, 1)).view(books, count + missing, depth)
        return Codebooks(packed, bias_kn, entries_knd.contiguous())

    def quantize(self, codebooks: Codebooks, latents_td: Tensor, count: int) -> Tensor:
        """Codes [k, t], int64, of float32 latents, by residual vector quantization (arXiv 2107.03312, section III-C):
        the nearest entry of each of the first `count` codebooks to what those before have left, the first among
        equals."""
        packed, bias_kn, entries_knd = (of_all[:count] for of_all in codebooks)
        books, entries, depth = entries_knd.shape
        assert packed.shape == entries_knd.shape and bias_kn.shape == (books, entries) and entries % self.block == 0
        assert _size(packed, bias_kn, entries_knd, latents_td) == 4 and latents_td.shape[1] == depth
        residual_td = latents_td.clone(memory_format=torch.contiguous_format)
        codes_kt, sizes = torch.empty(books, len(latents_td), dtype=torch.int64), (len(latents_td), depth)
        self._call("quantize", *sizes, books, entries, packed, bias_kn, entries_knd, residual_td, codes_kt,
                   torch.get_num_threads())  # fmt: skip
        return codes_kt

    def elu(self, signal: Tensor, out: Tensor) -> Tensor:
        """x, or e^x - 1 below zero, into `out` of the same shape and type, which may be `signal`."""
        made = _contiguous_like(out)
        self._call("elu", _size(signal, out), signal.numel(), signal.contiguous(), made, torch.get_num_threads())
        return out if made is out else out.copy_(made)

    def snake(self, signal_tc: Tensor, out_tc: Tensor, alpha_c: Tensor, inverse_c: Tensor) -> Tensor:
        """x + sin(alpha x)^2 * inverse (arXiv 2006.08195) into `out_tc`, as in `elu`; alpha and inverse float32."""
        made_tc, sizes = _contiguous_like(out_tc), (_size(signal_tc, out_tc), *signal_tc.shape)
        assert _size(alpha_c, inverse_c) == 4 and len(alpha_c) == len(inverse_c) == signal_tc.shape[1]
        self._call("snake", *sizes, alpha_c, inverse_c, signal_tc.contiguous(), made_tc, torch.get_num_threads())
        return out_tc if made_tc is out_tc else out_tc.copy_(made_tc)

    def moments(self, signal_tc: Tensor) -> tuple[float, float]:
        """Mean and variance of all numbers, to about float32's precision."""
        count = signal_tc.numel()
        sums_n2 = torch.empty(-(-count // self._part), 2, dtype=torch.float64)
        self._call("moments", _size(signal_tc), count, signal_tc.contiguous(), sums_n2, torch.get_num_threads())
        mean, square = (sums_n2.sum(0) / count).tolist()
        return mean, max(square - mean * mean, 0.0)

    def rescale(self, signal_tc: Tensor, gain_c: Tensor, shift_c: Tensor) -> Tensor:
        """x * gain + shift, in place; the signal is contiguous, gain and shift float32."""
        channels = signal_tc.shape[1]
        assert channels == len(gain_c) == len(shift_c) and _size(gain_c, shift_c) == 4
        frames = math.lcm(channels, self.lanes) // channels  # that fill whole registers side by side
        if frames > 1:
            gain_c, shift_c = gain_c.repeat(frames), shift_c.repeat(frames)
        sizes = (_size(signal_tc), signal_tc.numel(), frames * channels)
        self._call("rescale", *sizes, gain_c, shift_c, signal_tc, torch.get_num_threads())
        return signal_tc

    def _gemv(self, weight_oi: Tensor, bias_o: Tensor, rows_ti: Tensor) -> Tensor:
        (rows, depth), outputs, size = rows_ti.shape, len(bias_o), _size(weight_oi, rows_ti)
        assert weight_oi.shape == (outputs, depth)
        made_to, sizes = rows_ti.new_empty(rows, outputs), (size, rows, rows_ti.stride(0), depth, outputs)
        self._call("gemv", *sizes, weight_oi, bias_o, rows_ti[:1], made_to, torch.get_num_threads())
        return made_to

    def _is_gemv(self, outputs: int, depth: int) -> bool:
        """Whether weights stay as they are, for the kernel of so few outputs."""
        return outputs <= _GEMV_OUTPUTS and depth % self._gemv_depth == 0

    def _by_amx(self, asked: bool | None, rows: Tensor) -> bool:
        can = rows.dtype == torch.bfloat16 and rows.shape[-1] % _TILE == 0
        assert can or not asked
        return can and self.has_amx if asked is None else asked

    def _padded(self, outputs: int) -> int:
        """Outputs that `pack` fills a layer up to, with zeros: the last block has 1, 2 or 4 registers."""
        rest = -(-(outputs % self.block) // self.lanes)
        return outputs // self.block * self.block + (4 if rest == 3 else rest) * self.lanes

    def _call(self, name: str, *arguments: Tensor | int) -> int:
        """What the C function returns. Tensors are passed by address, numbers in 64 bits."""
        assert all(one.is_cpu and one.is_contiguous() for one in arguments if isinstance(one, Tensor))
        passed = (
            ctypes.c_void_p(one.data_ptr()) if isinstance(one, Tensor) else ctypes.c_int64(one) for one in arguments
        )
        return getattr(self._library, name)(*passed)


def _contiguous_like(out: Tensor) -> Tensor:
    """Itself if it is contiguous, else memory of its shape."""
    return out if out.is_contiguous() else torch.empty(out.shape, dtype=out.dtype)


def _size(*tensors: Tensor) -> int:
    """The bytes of a number of tensors of one type: 4 in float32, 2 in bfloat16."""
    (dtype,) = {tensor.dtype for tensor in tensors}
    assert dtype in (torch.float32, torch.bfloat16), dtype
    return dtype.itemsize
