"""Names → tokenizers: what there is, what is refused, and how another package adds its own."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import anytok
from anytok import UsageError
from anytok.catalogue import SUITES
from anytok.errors import CheckpointError, MissingExtraError
from anytok.generation import codebook_vectors
from anytok.registry import find, list_tokenizers, load_tokenizer

GOLDEN = Path(__file__).parent / "golden"
PUBLISHED = ["encodec-24khz", "encodec-32khz", "encodec-48khz", "seed-2", "speechtokenizer", "speechtokenizer-snake"]

PLUGIN = '''
import numpy as np
from anytok import Codes, Spec, Tokenizer

class Steps(Tokenizer):
    """Sixteen loudness steps, ten a second."""

    spec = Spec("loudness-steps", "speech", 1, 16, frame_rate=10, sample_rate=8000, preprocessing="first:functional")

    @classmethod
    def load(cls, spec, checkpoint=None, *, device="cpu", dtype="float32", gain=1.0):
        tokenizer = cls()
        tokenizer.gain = gain
        return tokenizer

    def _encode(self, prepared):
        return [Codes(np.zeros((1, self.spec.frames_of(m.num_samples)), int), self.spec) for m in prepared]

    def _decode(self, codes):
        raise NotImplementedError
'''


def install(folder: Path, name: str, value: str, code: str) -> None:
    """What pip leaves behind for a package with one entry point."""
    (folder / "their_package.py").write_text(code)
    info = folder / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[anytok.tokenizers]\n{name} = {value}\n")


def test_the_published_tokenizers_are_there() -> None:
    assert set(PUBLISHED) <= set(list_tokenizers())
    for name in PUBLISHED:
        entry = find(name)
        assert entry.spec.name == entry.spec.id == name and set(entry.engines) == {"native", "reference"}


def test_suites_name_tokenizers() -> None:
    for members in SUITES.values():
        assert members and set(members) <= set(list_tokenizers())


def test_engine_strings_lead_somewhere() -> None:
    for name in PUBLISHED:
        for place in find(name).engines.values():
            module, _, cls = place.partition(":")
            assert issubclass(getattr(importlib.import_module(module), cls), anytok.Tokenizer)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("speechtokeniser", {}, "known: .*speechtokenizer"),
        ("speechtokenizer", {"engine": "fast"}, "it has native, reference"),
        ("speechtokenizer", {"num_codebook": 1}, "num_codebooks, bandwidth"),
        ("speechtokenizer", {"device": "gpu"}, "cpu, cuda"),
        ("speechtokenizer", {"device": "cuda:99"}, "CUDA devices"),
        ("speechtokenizer", {"dtype": "half"}, "float16"),
        ("speechtokenizer", {"dtype": "tf32"}, "tf32 is for GPUs"),
        ("speechtokenizer", {"num_codebooks": 9}, "1 to 8"),
        ("speechtokenizer", {"num_codebooks": "abc"}, "num_codebooks='abc': expected a whole number, 1 to 8"),
        ("speechtokenizer", {"num_codebooks": 2.0}, "1 to 8"),
        ("speechtokenizer", {"num_codebooks": True}, "1 to 8"),
        ("speechtokenizer", {"device": "meta"}, "'meta' does not work here .*; use device='cpu'"),
        ("speechtokenizer", {"device": "xpu"}, "'xpu' does not work here"),
        ("speechtokenizer", {"device": 1.5}, "cpu, cuda"),
        ("encodec-24khz", {"bandwidth": 7.0}, "1.5|kbit/s"),
    ],
)
def test_wrong_arguments_are_told_the_right_ones(name: str, options: dict, said: str) -> None:
    folder = GOLDEN / name.replace("encodec-", "encodec_")
    with pytest.raises(UsageError, match=said):
        load_tokenizer(name, checkpoint=folder, **options)


def test_another_package_adds_a_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "loudness-steps", "their_package:Steps", PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "loudness-steps" in list_tokenizers()
    tokenizer = anytok.load_tokenizer("loudness-steps", gain=2.0)
    assert tokenizer.gain == 2.0  # type: ignore[attr-defined]
    codes = tokenizer.encode(anytok.Audio(np.zeros(8000, np.float32), 8000))
    assert codes.values.shape == (1, 10)
    with pytest.raises(UsageError, match="it has gain"):
        anytok.load_tokenizer("loudness-steps", volume=2.0)
    with pytest.raises(UsageError, match="names no codebook vectors: its class Steps has no read_codebooks"):
        codebook_vectors("loudness-steps")
    steps = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    monkeypatch.setattr(type(tokenizer), "read_codebooks", classmethod(lambda cls, spec, checkpoint: steps))
    assert np.array_equal(codebook_vectors("loudness-steps"), steps)


def test_a_package_that_is_installed_meanwhile_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match="no tokenizer is called 'loudness-later'"):
        find("loudness-later")
    install(tmp_path, "loudness-later", "their_package:Steps", PLUGIN)
    assert find("loudness-later").package == "their-package 1.0"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_package", "no_such_package"),
        ("Steps = 3", "no class derived"),
        ("import anytok\nclass Steps(anytok.Tokenizer): pass", "no `spec`"),
    ],
)
def test_a_broken_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
    monkeypatch.delitem(sys.modules, "their_package", raising=False)
    install(tmp_path, "loudness-steps", "their_package:Steps", code)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match=f"their-package.*{said}"):
        anytok.load_tokenizer("loudness-steps")


@pytest.mark.parametrize("name", ["encodec-24khz", "speechtokenizer"])
def test_a_missing_original_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [key for key in sys.modules if key.split(".")[0] in ("encodec", "speechtokenizer")]:
        monkeypatch.delitem(sys.modules, module)
    there = importlib.util.find_spec
    gone = ("encodec", "speechtokenizer")
    monkeypatch.setattr(importlib.util, "find_spec", lambda key, *rest: None if key in gone else there(key, *rest))
    options = {"package": "encodec"} if name.startswith("encodec") else {}
    with pytest.raises(MissingExtraError, match=r"anytok\[reference\]"):
        load_tokenizer(name, engine="reference", checkpoint=GOLDEN / name.replace("encodec-", "encodec_"), **options)


@pytest.mark.parametrize("name", ["speech-mini", "seed-mini"])
def test_tokenizers_can_be_sent_to_other_processes(name: str) -> None:
    tokenizer = load_tokenizer(name, **({"num_codebooks": 2} if name == "speech-mini" else {"batch_size": 3}))
    generator = np.random.default_rng(0)
    media: Any = anytok.Audio(generator.normal(0, 0.1, 8000), 16000)
    if name == "seed-mini":
        media = Image.fromarray(generator.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    sent = pickle.dumps(tokenizer)
    assert len(sent) < 1000, "weights are read again there"
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(pickle.loads(sent).encode, media).result() == tokenizer.encode(media)
    assert copy.deepcopy(tokenizer).encode(media) == tokenizer.encode(media)


def test_a_tokenizer_of_ones_own_is_pickled_as_usual() -> None:
    assert pickle.loads(pickle.dumps(Plain(3))).number == 3


class Plain(anytok.Tokenizer):
    def __init__(self, number: int) -> None:
        self.spec, self.number = anytok.Spec("plain", "speech", 1, 2), number

    def _encode(self, prepared: Any) -> list[anytok.Codes]:
        raise NotImplementedError

    def _decode(self, codes: Any) -> list[Any]:
        raise NotImplementedError


def test_a_tokenizer_that_was_sent_is_the_one_that_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(GOLDEN / "speechtokenizer", tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    sent = pickle.dumps(load_tokenizer("speechtokenizer", checkpoint="weights"))
    monkeypatch.chdir("/")
    assert pickle.loads(sent).spec.name == "speechtokenizer"
    state = torch.load(tmp_path / "weights" / "SpeechTokenizer.pt", weights_only=True)
    torch.save({key: 0.5 * tensor for key, tensor in state.items()}, tmp_path / "weights" / "SpeechTokenizer.pt")
    with pytest.raises(CheckpointError, match="the weights were replaced meanwhile"):
        pickle.loads(sent)


def test_a_package_pickles_its_own_tokenizers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = PLUGIN.replace(
        "class Steps", "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass Steps"
    ).replace("tokenizer = cls()\n        tokenizer.gain = gain\n", "tokenizer = cls()\n")
    install(tmp_path, "loudness-steps", "their_package:Steps", code)
    monkeypatch.syspath_prepend(tmp_path)
    tokenizer = load_tokenizer("loudness-steps")
    object.__setattr__(tokenizer, "state", 5)
    assert copy.copy(tokenizer).state == pickle.loads(pickle.dumps(tokenizer)).state == 5


@pytest.mark.parametrize("name", [["seed-2"], None, 3])
def test_a_name_is_text(name: Any) -> None:
    with pytest.raises(UsageError, match="expected text, such as 'seed-2'"):
        load_tokenizer(name)
