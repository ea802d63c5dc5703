"""Native codes against the original packages' codes, and both against the codes in float64, at published sizes, on real
files.

    python benchmarks/parity.py --speech FOLDER --music FOLDER --images FOLDER

Each file has weights of its own, seeded and calibrated on its first half (benchmarks/seeded.py); its second half is
compared.
Each row gives the share of equal codes, the share of possible codes in use (a check on an idle codebook proves
nothing), every divergence with the margin between the two nearest codes there, and the error of decoding. Under
"float64" it says of every precision, and of the original, how many codes are not those of native float64, and the
margins (`Codes.margins`) at the first difference of each frame: the later layers follow from it. The same is said of
what `anytok export` writes, run by ONNX Runtime, in float32 and float16, where the extra `export` is installed.
The control rows get the clip one sample late, a fault as small as a wrong padding; they have to disagree.
Takes more than an hour on two cores. Rows are written file by file: with --resume a run goes on where the last one was
killed, with what that measured with the same kernels, models and torch. Without folders, synthetic sound and pictures
stand in.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from exported import KINDS, exported
from machine import machine, provenance, rows_before, write_record
from seeded import write_checkpoint
from sounds import real_waves, synthetic_waves
from torch import Tensor

import anytok
from anytok.engines.native.precision import has_half_kernels
from anytok.media import prepare
from anytok.registry import find

RESULT = Path(__file__).parent / "results" / "parity.json"
SPEECH = ("speechtokenizer", "speechtokenizer-snake")
MUSIC = ("encodec-32khz", "encodec-24khz", "encodec-48khz")
MIN_USE = 0.2  # of the codes a clip could use: the smaller of its frames and the codebook
NEAR_TIE = 1e-4  # (second - best) / best squared distance, below which rounding may decide
LOST = 1e-6  # (second - best) / (|x|^2 + |e|^2), below which the originals' formula may not see the difference
DECODE_ERROR = 1e-4  # of the largest sample, at most
MARGINS = 20  # that are listed one by one
MIN_FILES = 4  # clips of that much use, for each tokenizer and original


def codec_rows(
    name: str, folder: Path | None, seconds: float = 10.0, done: Collection[str] = (), **sizes: Any
) -> Iterator[list[dict[str, Any]]]:
    """Rows for one audio tokenizer, file by file but for those in `done`; `sizes` shrink the published config (the
    tests do)."""
    spec = find(name).spec
    waves = real_waves(folder, spec, 2 * seconds) if folder else synthetic_waves(spec, 4, 2 * seconds)
    packages = ("speechtokenizer",) if name in SPEECH else ("transformers", "encodec")
    for file, wave in waves.items():
        if file in done:
            continue
        first, second = np.array_split(wave, 2, axis=1)
        audio = anytok.Audio(second, spec.sample_rate or 0)
        rows = []
        with tempfile.TemporaryDirectory() as place:
            checkpoint = write_checkpoint(name, Path(place), [first], **sizes)
            native = anytok.load_tokenizer(name, checkpoint=checkpoint)
            exact = anytok.load_tokenizer(name, checkpoint=checkpoint, dtype="float64").encode(audio, margins=True)
            others = {kind: against(exact, codes) for kind, codes in others_than_float32(native, checkpoint, audio)}
            for package in packages:
                options = {} if name in SPEECH else {"package": package}
                reference = anytok.load_tokenizer(name, engine="reference", checkpoint=checkpoint, **options)
                row = {"tokenizer": name, "original": package, "file": file}
                rows.append(row | compare(reference, native, audio, exact))
                rows[-1]["float64"] |= others
            rows.append(row | {"control": True} | control(reference, native, audio))
        yield rows


def others_than_float32(native: Any, checkpoint: Path, audio: anytok.Audio) -> Iterator[tuple[str, anytok.Codes]]:
    """Codes in the lower precisions of CPUs, where this one has them; and those of exported files."""
    for dtype in ("mixed", "bfloat16") if has_half_kernels() else ():
        yield dtype, anytok.load_tokenizer(native.spec.name, checkpoint=checkpoint, dtype=dtype).encode(audio)
    for dtype, kind in KINDS.items():
        with exported(native.spec, checkpoint, dtype) as files:
            if files is not None:
                yield kind, files.encode(prepare(audio, native.spec))


def against(exact: anytok.Codes, codes: anytok.Codes) -> dict[str, Any]:
    """How many codes are not those of float64; and the margins, in float64, at the first difference of each frame: all
    of them up to MARGINS, and their median and largest."""
    differ_kt = codes.values != exact.values
    frames = np.flatnonzero(differ_kt.any(axis=0))
    assert exact.margins is not None
    margins = np.sort(exact.margins[differ_kt.argmax(axis=0)[frames], frames]).tolist()
    found: dict[str, Any] = {"wrong": int(differ_kt.sum()), "first": len(frames)}
    if margins:
        found |= {"median": margins[len(margins) // 2], "largest": margins[-1]}
    return found | ({"margins": margins} if len(margins) <= MARGINS else {})


def compare(reference: Any, native: Any, audio: anytok.Audio, exact: anytok.Codes) -> dict[str, Any]:
    """One clip through both engines, there and back, and its codes in float64."""
    theirs, ours = reference.encode(audio), native.encode(audio)
    original, decoded = reference.decode(theirs).wave, native.decode(theirs).wave
    return {
        "codes": int(theirs.values.size),
        "equal": float((theirs.values == ours.values).mean()),
        "least_use": round(least_use(theirs), 3),
        "divergences": divergences(native, audio, theirs, ours),
        "decode_error": float(np.abs(original - decoded).max() / np.abs(original).max()),
        "float64": {"native": against(exact, ours), "original": against(exact, theirs)},
    }


def least_use(codes: anytok.Codes) -> float:
    """The smallest share, over codebooks, of the codes that a clip of this length could use at most."""
    possible = min(codes.num_frames, codes.spec.codebook_size)
    return min(len(np.unique(row)) for row in codes.values) / possible


@torch.inference_mode()
def divergences(native: Any, audio: anytok.Audio, theirs: anytok.Codes, ours: anytok.Codes) -> list[dict[str, Any]]:
    """Where the codes of each frame first differ (later layers follow from it), and how close the race was there."""
    differ_kt = theirs.values != ours.values
    if not differ_kt.any():
        return []
    books_knd, latents_dt = native._codec.codebooks_knd.double(), torch.tensor(native.latents(audio)).double()
    places = []
    for frame in np.flatnonzero(differ_kt.any(axis=0)):
        layer, residual_d = int(differ_kt[:, frame].argmax()), latents_dt[:, frame]
        for earlier in range(layer):
            residual_d = residual_d - books_knd[earlier][int(ours.values[earlier, frame])]
        places.append({"frame": int(frame), "layer": layer} | race(residual_d, books_knd[layer]))
    return places


def race(point_d: Tensor, codebook_nd: Tensor) -> dict[str, float]:
    """How near the two nearest rows are to a point, as squared distances in float64.

    `margin` is (second - best) / best. `of_terms` is (second - best) / (|x|^2 + |e|^2): the originals compute
    |x|^2 - 2 x.e + |e|^2 in float32, so what lies below a few times 1e-7 of its terms is lost to them, however
    large a part of a tiny distance it is. (Rows that nearly repeat, near which a long residual lies, are such a case.)
    """
    distances = (codebook_nd.double() - point_d.double()).square().sum(1).sort()
    gap = distances.values[1] - distances.values[0]
    terms = point_d.double().square().sum() + codebook_nd[distances.indices[0]].double().square().sum()
    return {"margin": float(gap / distances.values[0]), "of_terms": float(gap / terms)}


def control(reference: Any, native: Any, audio: anytok.Audio) -> dict[str, Any]:
    """The same comparison on a clip that the native engine gets one sample late: the codes have to differ."""
    late = anytok.Audio(np.roll(audio.wave, 1, axis=1), audio.sample_rate)
    return {"equal": float((reference.encode(audio).values == native.encode(late).values).mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in ("speech", "music", "images"):
        parser.add_argument(f"--{kind}", type=Path, help=f"a folder of real {kind}")
    everything = (*SPEECH, *MUSIC, "seed-2")
    parser.add_argument("--only", nargs="+", choices=everything, default=everything, help="default: all")
    parser.add_argument("--resume", action="store_true", help="keep what a killed run has measured, and go on")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    rows = kept_rows(options.out, options.only, options.resume)
    for name in options.only:
        done = {row["file"] for row in rows if row["tokenizer"] == name and "file" in row}
        for found in found_rows(name, options, done):
            for row in found:
                print(json.dumps(row), flush=True)
            rows += found
            write_record(options.out, {"machine": machine("onnx", "onnxruntime"), "rows": rows})
    print(f"-> {options.out}")
    verdict([row for row in rows if row["tokenizer"] in options.only])


def kept_rows(path: Path, chosen: Collection[str], resume: bool) -> list[dict[str, Any]]:
    """The rows of a result file that stay: those of tokenizers that are not chosen, and, to resume, those of chosen
    ones that were measured with today's kernels, models and torch."""
    rows = rows_before(path, lambda row: resume or row["tokenizer"] not in chosen)
    now = provenance(machine(), {})
    alike = [all(row[key] == now[key] for key in ("kernel_sources", "torch")) for row in rows]
    return [row for row, same in zip(rows, alike, strict=True) if same or row["tokenizer"] not in chosen]


def found_rows(name: str, options: argparse.Namespace, done: Collection[str]) -> Iterator[list[dict[str, Any]]]:
    """The rows of one tokenizer, as they are measured; all of SEED's pictures have one checkpoint, and come at once."""
    if name != "seed-2":
        yield from codec_rows(name, options.speech if name in SPEECH else options.music, done=done)
    elif not done:
        from parity_seed import seed_rows

        yield seed_rows(options.images)


def near_tie(place: dict[str, Any]) -> bool:
    """Whether float32 may decide either way there."""
    return bool(place["margin"] < NEAR_TIE or place.get("of_terms", 1) < LOST)


def verdict(rows: list[dict[str, Any]]) -> None:
    """Say what the rows show, and exit 1 unless they show enough.

    Codes may differ only where float32 cannot tell the two nearest rows apart (near_tie, listed), and decoding by
    DECODE_ERROR; every control must disagree; each pair of engines needs four clips that use their codebooks and agree
    in every code.
    """
    clips = [row for row in rows if not row.get("control")]
    unequal = [row for row in clips if row["equal"] < 1]
    wrong = [row for row in unequal if not all(map(near_tie, row["divergences"]))]
    far = [row for row in clips if not row["decode_error"] <= DECODE_ERROR]  # NaN is far, too
    blind = [row for row in rows if row.get("control") and row["equal"] == 1]
    pairs = {(row["tokenizer"], row["original"]) for row in clips}
    good = [row for row in clips if row["equal"] == 1 and row["least_use"] > MIN_USE]
    full = Counter((row["tokenizer"], row["original"]) for row in good)
    idle = sorted(pair for pair in pairs if full[pair] < MIN_FILES)
    print(f"{len(clips)} clips: {len(unequal)} with differences, {len(wrong)} of them beyond near ties; "
          f"{len(far)} decoded unlike; {len(blind)} blind controls")  # fmt: skip
    for row in unequal:
        print(f"{row['tokenizer']} against {row['original']}, {row['file']}: {row['divergences']}")
    for name, package in idle:
        print(f"{name} against {package}: {full[name, package]} clips agree and use their codebooks: too few")
    raise SystemExit(bool(wrong or far or blind or idle))


if __name__ == "__main__":
    main()
