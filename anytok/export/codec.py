"""A SEANet codec (SpeechTokenizer, EnCodec) as two ONNX graphs, for clips of any length.

The nodes follow `anytok.models.seanet` layer by layer. torch's own exporter fixes the number of LSTM steps and the
padding at the length it is shown; here they follow the input's length, down to one sample.
Legend: b batch, c channels, s samples, k codebooks, t time (samples or frames), n codes per codebook, d dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoints.codec_sizes import CodecSizes
from ..models.codec import Codec
from ..models.seanet import Activation, Conv, Lstm, ResidualBlock, UpConv, folded, padding
from .graph import Graph

__all__ = ["decoder_model", "encoder_model"]

_LARGEST = 2**63 - 1  # as the end of a slice: to the end


def encoder_model(codec: Codec, sizes: CodecSizes, count: int, dtype: type, facts: Mapping[str, str]) -> Any:
    """`wave`, float32 [b, c, s] → `codes`, int64 [b, k, t] of the first `count` codebooks.

    Where the codec divides each segment by its loudness (EnCodec at 48 kHz), `wave` is one segment, and `scale`,
    float32 [b], is that loudness.
    """
    graph, outputs = Graph(dtype), dict[str, Any]()
    signal = "wave"
    if sizes.normalize:
        signal, scale = _normalized(graph, signal)
        graph.output("scale", scale)
        outputs["scale"] = (np.float32, ["batch"])
    latents_bdt = _layers(graph, codec.encoder, graph.cast(signal, dtype))
    graph.output("codes", _quantized(graph, _numpy(codec.quantizer.codebooks_knd)[:count], latents_bdt))
    inputs: dict[str, Any] = {"wave": (np.float32, ["batch", sizes.channels, "samples"])}
    return graph.model(inputs, {"codes": (np.int64, ["batch", count, "frames"])} | outputs, facts)


def decoder_model(codec: Codec, sizes: CodecSizes, count: int, dtype: type, facts: Mapping[str, str]) -> Any:
    """`codes`, int64 [b, k, t] of the first `count` codebooks → `wave`, float32 [b, c, t * hop]; with `scale`, float32
    [b], where the codec divides segments by their loudness."""
    graph = Graph(dtype)
    latents_bdt = _summed(graph, _numpy(codec.quantizer.codebooks_knd)[:count], "codes")
    wave = graph.cast(_layers(graph, codec.decoder, graph.cast(latents_bdt, dtype)), np.float32)
    inputs: dict[str, Any] = {"codes": (np.int64, ["batch", count, "frames"])}
    if sizes.normalize:
        inputs["scale"] = (np.float32, ["batch"])
        wave = graph.add("Mul", wave, graph.add("Unsqueeze", "scale", graph.integers(1, 2)))
    graph.output("wave", wave)
    return graph.model(inputs, {"wave": (np.float32, ["batch", sizes.channels, "samples"])}, facts)


def _layers(graph: Graph, layers: nn.Sequential, signal_bct: str) -> str:
    for layer in layers:
        signal_bct = _NODES[type(layer)](graph, layer, signal_bct)
    return signal_bct


def _conv(graph: Graph, conv: Conv, signal_bct: str) -> str:
    kernel, stride, dilation = conv.kernel_size[0], conv.stride[0], conv.dilation[0]
    left, right = padding(stride, kernel, stride, dilation, conv.causal)  # of a length that windows fill
    weights = [graph.weight(_numpy(folded(conv)))] + ([] if conv.bias is None else [graph.weight(_numpy(conv.bias))])
    padded = _pad(graph, signal_bct, left, right, stride, conv.pad_mode)
    out_bct = graph.add("Conv", padded, *weights, strides=[stride], dilations=[dilation], kernel_shape=[kernel])
    return out_bct if conv.norm is None else _group_norm(graph, conv.norm, out_bct)


def _pad(graph: Graph, signal_bct: str, left: int, right: int, stride: int, mode: str) -> str:
    """`left` and `right` samples more in time, and on the right what fills the last window; see `models.seanet.pad`."""
    if (left, right, stride) == (0, 0, 1):
        return signal_bct
    one, axis = graph.integers(1), graph.integers(2)
    length = graph.add("Shape", signal_bct, start=2, end=3)
    ends = graph.integers(right)
    if stride > 1:
        filling = graph.add("Mod", graph.add("Neg", length), graph.integers(stride))
        ends = graph.add("Add", ends, filling)
    sides = graph.add("Concat", graph.integers(left), ends, axis=0)
    if mode != "reflect":
        return graph.add("Pad", signal_bct, sides, "", axis)
    # Reflection needs more samples than it mirrors: zeros first, whose number is dropped at the end.
    mirrored = graph.add("Max", graph.integers(left), ends)
    lacking = graph.add("Sub", graph.add("Add", mirrored, one), length)
    missing = graph.add("Max", graph.integers(0), lacking)
    filled = graph.add("Pad", signal_bct, graph.add("Concat", graph.integers(0), missing, axis=0), "", axis)
    padded = graph.add("Pad", filled, sides, "", axis, mode="reflect")
    end = graph.add("Add", length, graph.add("Add", graph.integers(left), ends))
    return graph.add("Slice", padded, graph.integers(0), end, axis)


def _up_conv(graph: Graph, conv: UpConv, signal_bct: str) -> str:
    stride = conv.stride[0]
    weights = [graph.weight(_numpy(folded(conv)))] + ([] if conv.bias is None else [graph.weight(_numpy(conv.bias))])
    out_bct = graph.add("ConvTranspose", signal_bct, *weights, strides=[stride], kernel_shape=[2 * stride])
    if conv.norm is not None:
        out_bct = _group_norm(graph, conv.norm, out_bct)
    left = 0 if conv.causal else stride - stride // 2
    end = graph.integers(left - stride if left < stride else _LARGEST)
    return graph.add("Slice", out_bct, graph.integers(left), end, graph.integers(2))


def _group_norm(graph: Graph, norm: nn.GroupNorm, signal_bct: str) -> str:
    """One group: mean and variance over channels and time; in float32, since squares overflow in float16."""
    axes, signal_bct = graph.integers(1, 2), graph.cast(signal_bct, np.float32)
    centred = graph.add("Sub", signal_bct, graph.add("ReduceMean", signal_bct, axes))
    variance = graph.add("ReduceMean", graph.add("Mul", centred, centred), axes)
    deviation = graph.add("Sqrt", graph.add("Add", variance, graph.constant(np.array([norm.eps], np.float32))))
    scaled = graph.add("Mul", graph.add("Div", centred, deviation), graph.constant(_numpy(norm.weight)[:, None]))
    return graph.cast(graph.add("Add", scaled, graph.constant(_numpy(norm.bias)[:, None])), graph.dtype)


def _activation(graph: Graph, activation: Activation, signal_bct: str) -> str:
    if activation.alpha is None:
        return graph.add("Elu", signal_bct)
    alpha = _numpy(activation.alpha)
    sine = graph.add("Sin", graph.add("Mul", signal_bct, graph.weight(alpha)))
    return graph.add("Add", signal_bct, graph.add("Div", graph.add("Mul", sine, sine), graph.weight(alpha + 1e-9)))


def _residual(graph: Graph, block: ResidualBlock, signal_bct: str) -> str:
    side = signal_bct if block.shortcut is None else _conv(graph, block.shortcut, signal_bct)
    return graph.add("Add", side, _layers(graph, block.block, signal_bct))


def _lstm(graph: Graph, module: Lstm, signal_bct: str) -> str:
    lstm = module.lstm
    directions = ("", "_reverse") if lstm.bidirectional else ("",)
    signal_tbc = out_tbc = graph.add("Transpose", signal_bct, perm=[2, 0, 1])
    for layer in range(lstm.num_layers):
        names = [f"_l{layer}{direction}" for direction in directions]
        weights = [
            graph.weight(np.stack([np.concatenate([_gates(lstm, part + name) for part in parts]) for name in names]))
            for parts in (("weight_ih",), ("weight_hh",), ("bias_ih", "bias_hh"))
        ]
        kind = "bidirectional" if lstm.bidirectional else "forward"
        out_tnbc = graph.add("LSTM", out_tbc, *weights, hidden_size=lstm.hidden_size, direction=kind)
        out_tbnc = graph.add("Transpose", out_tnbc, perm=[0, 2, 1, 3])
        out_tbc = graph.add("Reshape", out_tbnc, graph.integers(0, 0, -1))
    skip = [signal_tbc] * len(directions)
    skip_tbc = graph.add("Concat", *skip, axis=2) if len(skip) > 1 else signal_tbc
    return graph.add("Transpose", graph.add("Add", out_tbc, skip_tbc), perm=[1, 2, 0])


def _gates(lstm: nn.LSTM, name: str) -> np.ndarray:
    """A parameter with its gates in ONNX's order: input, output, forget, cell. torch has the output gate last."""
    first, forget, cell, output = np.split(_numpy(getattr(lstm, name)), 4)
    return np.concatenate([first, output, forget, cell])


def _quantized(graph: Graph, codebooks_knd: np.ndarray, latents_bdt: str) -> str:
    """Codes [b, k, t], as `ResidualQuantizer.encode` finds them: in float32, the first index winning ties."""
    residual_btd = graph.add("Transpose", graph.cast(latents_bdt, np.float32), perm=[0, 2, 1])
    codes = []
    for codebook_nd in codebooks_knd:
        rows = graph.constant(codebook_nd)
        products = graph.add("MatMul", residual_btd, graph.add("Transpose", rows, perm=[1, 0]))
        scores_btn = graph.add("Sub", products, graph.constant(0.5 * np.square(codebook_nd).sum(1)))
        codes_bt = graph.add("ArgMax", scores_btn, axis=2, keepdims=0)
        codes.append(graph.add("Unsqueeze", codes_bt, graph.integers(1)))
        residual_btd = graph.add("Sub", residual_btd, graph.add("Gather", rows, codes_bt))
    return graph.add("Concat", *codes, axis=1)


def _summed(graph: Graph, codebooks_knd: np.ndarray, codes_bkt: str) -> str:
    """Latents [b, d, t] of codes: the sum of their rows."""
    latents_btd = ""
    for layer, codebook_nd in enumerate(codebooks_knd):
        codes_bt = graph.add("Gather", codes_bkt, graph.constant(np.array(layer)), axis=1)
        rows_btd = graph.add("Gather", graph.constant(codebook_nd), codes_bt)
        latents_btd = graph.add("Add", latents_btd, rows_btd) if latents_btd else rows_btd
    return graph.add("Transpose", latents_btd, perm=[0, 2, 1])


def _normalized(graph: Graph, wave_bcs: str) -> tuple[str, str]:
    """A segment divided by its loudness, and that loudness [b]; see `models.segments.normalize`."""
    mono = graph.add("ReduceMean", wave_bcs, graph.integers(1))
    power = graph.add("ReduceMean", graph.add("Mul", mono, mono), graph.integers(1, 2))
    scale = graph.add("Add", graph.add("Sqrt", power), graph.constant(np.array([1e-8], np.float32)))
    return graph.add("Div", wave_bcs, scale), graph.add("Squeeze", scale, graph.integers(1, 2))


@torch.no_grad()
def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


_NODES: dict[type, Callable[[Graph, Any, str], str]] = {
    Conv: _conv, UpConv: _up_conv, Activation: _activation, ResidualBlock: _residual, Lstm: _lstm,
}  # fmt: skip
