"""What else a CPU can run the codecs with, beside the originals and the native engine: called by `speed.py --peers`.

ONNX Runtime and OpenVINO run the graphs of `anytok export`: no other tool exports the encoders of these models, and
torch's own exporter fixes padding and the steps of LSTMs at the one length that it is shown. torch.compile takes the
`encode` and `decode` of the original package. All compute in float32, on equally many threads, and all may take clips
together: padding changes codes of the originals, so clips have one length here. torch.compile and OpenVINO have
compiled for that length before anything is timed, which makes OpenVINO's graphs of any length somewhat faster; at
another length they would compile again. torch.compile takes the originals in pieces: the LSTMs of SpeechTokenizer, and
in EnCodec branches on the sizes of paddings, are left to eager torch.

    pip install onnx onnxscript onnxruntime openvino

brings what this needs (the first three are the extra `export`). What is not installed, or does not compile, is left
out, and its row says why.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from exported import EXTRA, absent
from seeded import write_checkpoint
from speed_rows import Row, Run, agreement, cut, kept_checkpoint, measured

import anytok
from anytok.models.segments import overlap_add
from anytok.torch_settings import products

PACKAGES = (*EXTRA, "openvino")  # whose versions stand beside the results
LARGEST = 16  # clips, or segments of clips, that a graph takes at a time
Arrays = list[np.ndarray]
Graph = Callable[[Mapping[str, np.ndarray]], Arrays]  # named inputs → outputs


class Engine(Protocol):
    """One way to run a codec on clips of one length."""

    def encode(self, clips: list[anytok.Audio]) -> list[anytok.Codes]: ...

    def decode(self, codes: list[anytok.Codes]) -> Arrays: ...


def peer_rows(
    name: str, folder: Path | None, seconds: float, batch: int, rounds: int, threads: int, kept: Path | None = None
) -> list[Row]:
    """Encode and decode rows of one codec, each engine alone and on a batch: times, the share of equal codes of each
    codebook, the largest error of decoding as a share of the largest sample. Engines that are left out have a row with
    the reason under "left_out"."""
    first_half, *clips = cut(name, folder, seconds, batch)
    with kept_checkpoint(name, kept, lambda place: write_checkpoint(name, place, [first_half.wave])) as place:
        engines, left_out = load_engines(name, place, threads)
    original = engines["original"]
    codes = [original.encode([clip])[0] for clip in clips]
    waves = [original.decode([item])[0] for item in codes]
    rows: list[Row] = []
    for way, items in (("encode", clips), ("decode", codes)):
        runs: dict[str, Run] = {}
        found: dict[str, Row] = {}
        lacking = dict(left_out)
        for engine, each in engines.items():
            run = getattr(each, way)
            try:
                run(items[:1])
                made = run(items)
            except Exception as error:
                if engine != "torch.compile":  # which does not compile everything, and that is a result
                    raise
                lacking[engine] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
                continue
            encoded = way == "encode"
            found[engine] = {"equal": agreement(codes, made)} if encoded else {"decode_error": unlike(waves, made)}
            runs[engine] = (1, lambda run=run, items=items: run(items[:1]))
            runs[f"{engine}, batch of {batch}"] = (batch, lambda run=run, items=items: run(items))
        for row in measured(name, way, runs, rounds, seconds):
            rows.append(row | found[row["engine"].partition(", batch")[0]])
        rows += [{"tokenizer": name, "way": way, "engine": engine, "left_out": why} for engine, why in lacking.items()]
    return rows


def unlike(expected: Arrays, found: Arrays) -> float:
    """The largest difference, as a share of the largest sample."""
    pairs = zip(expected, found, strict=True)
    return max(float(np.abs(one - other).max() / np.abs(one).max()) for one, other in pairs)


def load_engines(name: str, checkpoint: Path, threads: int) -> tuple[dict[str, Engine], dict[str, str]]:
    """The engines by the names of their rows, and why others are missing."""
    native = anytok.load_tokenizer(name, checkpoint=checkpoint)
    engines: dict[str, Engine] = {"original": Original(name, checkpoint), "native float32": Native(native)}
    left_out: dict[str, str] = {}
    lacking = absent(EXTRA)
    with tempfile.TemporaryDirectory() as place:
        graphs = Path(place) / "graphs"
        if not lacking:
            from anytok.export import export_onnx

            rate = native.spec.sample_rate or 0
            tried = anytok.Audio(np.zeros((native.spec.channels or 1, rate // 10), np.float32), rate)
            export_onnx(name, graphs, [tried], checkpoint=checkpoint)
        for engine, (package, load) in RUNTIMES.items():
            if missing := lacking or absent((package,)):
                left_out[engine] = f"{' and '.join(missing)} not installed"
            else:
                encoder, decoder = (load(graphs / f"{part}.onnx", threads) for part in ("encoder", "decoder"))
                engines[engine] = Exported(native.spec, encoder, decoder)
    torch._logging.set_logs(all=logging.ERROR)  # it warns of every piece
    engines["torch.compile"] = Original(name, checkpoint, compiled=True)
    return engines, left_out


class Native:
    """anytok's own engine."""

    def __init__(self, tokenizer: anytok.Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, clips: list[anytok.Audio]) -> list[anytok.Codes]:
        return self._tokenizer.encode_batch(clips)

    def decode(self, codes: list[anytok.Codes]) -> Arrays:
        return [audio.wave for audio in self._tokenizer.decode_batch(codes)]  # type: ignore[union-attr]


class Original:
    """The original package's model, which takes a batch of one length; with `compiled`, through torch.compile."""

    def __init__(self, name: str, checkpoint: Path, compiled: bool = False) -> None:
        tokenizer: Any = anytok.load_tokenizer(name, engine="reference", checkpoint=checkpoint)
        self._spec, model, self._speech = tokenizer.spec, tokenizer._model, name.startswith("speech")
        self._bandwidth = {} if self._speech else {"bandwidth": model.config.target_bandwidths[-1]}
        self._encode, self._decode = model.encode, model.decode
        if compiled:
            self._encode, self._decode = (torch.compile(run, dynamic=False) for run in (model.encode, model.decode))

    @torch.inference_mode()
    @products("ieee")
    def encode(self, clips: list[anytok.Audio]) -> list[anytok.Codes]:
        waves_bcs = torch.from_numpy(np.stack([clip.wave for clip in clips]))
        coded, length = self._encode(waves_bcs, **self._bandwidth), clips[0].num_samples
        if self._speech:
            return [anytok.Codes(codes_kt.numpy(), self._spec, length) for codes_kt in coded.movedim(1, 0)]
        values = coded.audio_codes.permute(1, 2, 0, 3).flatten(2)[..., : self._spec.frames_of(length)].numpy()
        if coded.audio_scales[0] is None:
            return [anytok.Codes(codes_kt, self._spec, length) for codes_kt in values]
        scales_bs = torch.cat(list(coded.audio_scales), dim=1).numpy()
        both = zip(values, scales_bs, strict=True)
        return [anytok.Codes(codes_kt, self._spec, length, scales=scales_s) for codes_kt, scales_s in both]

    @torch.inference_mode()
    @products("ieee")
    def decode(self, codes: list[anytok.Codes]) -> Arrays:
        values_bkt = torch.from_numpy(np.stack([item.values for item in codes]))
        if self._speech:
            waves_bcs = self._decode(values_bkt.movedim(0, 1).contiguous())
        else:
            lengths = codes[0].segment_frames()
            missing = lengths[0] - lengths[-1]  # of the last segment, which is padded for this call
            padded_bkt = torch.nn.functional.pad(values_bkt, (0, missing))
            segments_sbkt = padded_bkt.unflatten(2, (len(lengths), lengths[0])).permute(2, 0, 1, 3)
            scales: Any = [None] * len(lengths)
            if codes[0].scales is not None:
                scales_bs = torch.from_numpy(np.stack([item.scales for item in codes if item.scales is not None]))
                scales = list(scales_bs.T)
            waves_bcs = self._decode(segments_sbkt, scales, last_frame_pad_length=missing)[0]
        return list(waves_bcs[..., : codes[0].num_samples].numpy())


class Exported:
    """The graphs of `anytok export`, in a runtime."""

    def __init__(self, spec: anytok.Spec, encoder: Graph, decoder: Graph) -> None:
        self._spec, self._encoder, self._decoder = spec, encoder, decoder

    def encode(self, clips: list[anytok.Audio]) -> list[anytok.Codes]:
        bounds = self._spec.segments(clips[0].num_samples)
        outputs = together(self._encoder, [{"wave": clip.wave[:, a:b]} for clip in clips for a, b in bounds])
        found = []
        for place, clip in enumerate(clips):
            codes, *scale = zip(*outputs[place * len(bounds) : (place + 1) * len(bounds)], strict=True)
            scales = np.array(scale[0]) if scale else None
            found.append(anytok.Codes(np.concatenate(codes, axis=1), self._spec, clip.num_samples, scales=scales))
        return found

    def decode(self, codes: list[anytok.Codes]) -> Arrays:
        ends = np.cumsum(codes[0].segment_frames())
        pieces = [{"codes": segment} for item in codes for segment in np.split(item.values, ends[:-1], axis=1)]
        if codes[0].scales is not None:
            scales = np.concatenate([item.scales for item in codes if item.scales is not None])
            pieces = [piece | {"scale": scale} for piece, scale in zip(pieces, scales, strict=True)]
        waves = [wave for (wave,) in together(self._decoder, pieces)]
        if len(ends) == 1:
            return [wave[:, : codes[0].num_samples] for wave in waves]
        stride, count = self._spec.segment_stride or 0, codes[0].num_samples or 0
        total = stride * (len(ends) - 1) + waves[-1].shape[1]
        each = [map(torch.from_numpy, waves[at : at + len(ends)]) for at in range(0, len(waves), len(ends))]
        return [overlap_add(segments, stride, total).numpy()[:, :count] for segments in each]


def together(graph: Graph, pieces: list[dict[str, Any]]) -> list[Arrays]:
    """The outputs for each piece, without the axis of the batch: pieces of one length go through the graph at once, at
    most LARGEST of them."""
    found: dict[int, Arrays] = {}
    lengths: dict[int, list[int]] = {}
    for place, piece in enumerate(pieces):
        lengths.setdefault(next(iter(piece.values())).shape[-1], []).append(place)
    for places in lengths.values():
        for start in range(0, len(places), LARGEST):
            some = places[start : start + LARGEST]
            outputs = graph({name: np.stack([pieces[place][name] for place in some]) for name in pieces[0]})
            found |= {place: [output[row] for output in outputs] for row, place in enumerate(some)}
    return [found[place] for place in range(len(pieces))]


def onnx_runtime(path: Path, threads: int) -> Graph:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors; it warns of constants that it has folded
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)


def openvino(path: Path, threads: int) -> Graph:
    from openvino import Core

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_HYPER_THREADING": True,  # else it leaves out what a virtual machine calls the second thread of a core
        "PERFORMANCE_HINT": "LATENCY",  # one stream with all threads
        "INFERENCE_PRECISION_HINT": "f32",  # else it is bfloat16 where the CPU has that
    }
    core = Core()
    model = core.read_model(str(path))
    requests: dict[tuple[tuple[int, ...], ...], Any] = {}  # by the shapes of inputs

    def run(inputs: Mapping[str, np.ndarray]) -> Arrays:
        shapes = {name: values.shape for name, values in inputs.items()}
        if (key := tuple(shapes.values())) not in requests:
            fixed = model.clone()
            fixed.reshape({name: list(shape) for name, shape in shapes.items()})
            requests[key] = core.compile_model(fixed, "CPU", settings).create_infer_request()
        found = requests[key].infer(dict(inputs))
        return [found[place] for place in range(len(found))]

    return run


RUNTIMES: dict[str, tuple[str, Callable[[Path, int], Graph]]] = {
    "ONNX Runtime": ("onnxruntime", onnx_runtime),
    "OpenVINO": ("openvino", openvino),
}
