"""Native codes against the original packages' codes, and both against the codes in float64, at published sizes, on real
files.

    python benchmarks/parity.py --speech FOLDER --music FOLDER --images FOLDER

Each file has weights of its own, seeded and calibrated on its first half (benchmarks/seeded.py); its second half is
compared.
Each row gives the share of equal codes, the share of possible codes in use (a check on an idle codebook proves
nothing), every divergence with the margin between the two nearest codes there, and the error of decoding. Under
"float64" it says of every precision, and of the original, how many codes are not those of native float64, and the
margins (`Codes.margins`) at the first difference of each frame: the later layers follow from it.
The control rows get the clip one sample late, a fault as small as a wrong padding; they have to disagree.
Takes about fifty minutes on two cores. Without folders, synthetic sound and pictures stand in.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine, rows_before
from seeded import write_checkpoint
from sounds import real_waves, synthetic_waves
from torch import Tensor

import anytok
from anytok.engines.native.precision import has_half_kernels
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


def codec_rows(name: str, folder: Path | None, seconds: float = 10.0, **sizes: Any) -> list[dict[str, Any]]:
    """Rows for one audio tokenizer; `sizes` shrink the published config (the tests do)."""
    spec = find(name).spec
    waves = real_waves(folder, spec, 2 * seconds) if folder else synthetic_waves(spec, 4, 2 * seconds)
    packages = ("speechtokenizer",) if name in SPEECH else ("transformers", "encodec")
    rows = []
    for file, wave in waves.items():
        first, second = np.array_split(wave, 2, axis=1)
        audio = anytok.Audio(second, spec.sample_rate or 0)
        with tempfile.TemporaryDirectory() as place:
            checkpoint = write_checkpoint(name, Path(place), [first], **sizes)
            native = anytok.load_tokenizer(name, checkpoint=checkpoint)
            exact = anytok.load_tokenizer(name, checkpoint=checkpoint, dtype="float64").encode(audio, margins=True)
            lower = {kind: against(exact, codes) for kind, codes in lower_precisions(name, checkpoint, audio)}
            for package in packages:
                options = {} if name in SPEECH else {"package": package}
                reference = anytok.load_tokenizer(name, engine="reference", checkpoint=checkpoint, **options)
                row = {"tokenizer": name, "original": package, "file": file}
                rows.append(row | compare(reference, native, audio, exact))
                rows[-1]["float64"] |= lower
            rows.append(row | {"control": True} | control(reference, native, audio))
    return rows


def lower_precisions(name: str, checkpoint: Path, audio: anytok.Audio) -> Iterator[tuple[str, anytok.Codes]]:
    """Codes in the lower precisions of CPUs, where this one has them."""
    for dtype in ("mixed", "bfloat16") if has_half_kernels() else ():
        yield dtype, anytok.load_tokenizer(name, checkpoint=checkpoint, dtype=dtype).encode(audio)


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
    parser.add_argument("--only", nargs="+", help="tokenizers to compare (default: all)")
    options = parser.parse_args()
    chosen = options.only or (*SPEECH, *MUSIC, "seed-2")
    kept = rows_before(RESULT, lambda row: row["tokenizer"] not in chosen)
    rows = []
    for name in chosen:
        if name == "seed-2":
            from parity_seed import seed_rows

            found = seed_rows(options.images)
        else:
            found = codec_rows(name, options.speech if name in SPEECH else options.music)
        for row in found:
            print(json.dumps(row), flush=True)
        rows += found
        RESULT.write_text(json.dumps({"machine": machine(), "rows": kept + rows}, indent=1) + "\n")
    verdict(rows)


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
          f"{len(far)} decoded unlike; {len(blind)} blind controls -> {RESULT}")  # fmt: skip
    for row in unequal:
        print(f"{row['tokenizer']} against {row['original']}, {row['file']}: {row['divergences']}")
    for name, package in idle:
        print(f"{name} against {package}: {full[name, package]} clips agree and use their codebooks: too few")
    raise SystemExit(bool(wrong or far or blind or idle))


if __name__ == "__main__":
    main()
