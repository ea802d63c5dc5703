"""Interleaved parts ⇄ ids over several tokenizers that load on use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from llama import llama_tokenizer

from anytok import (
    Audio,
    Codes,
    CodesError,
    Image,
    MediaError,
    Music,
    Speech,
    Tokenizer,
    UsageError,
    VocabularyError,
    catalogue,
    load_multimodal,
    multimodal,
    registry,
)
from anytok.spec import Spec
from anytok.vocab import TextIds


class Toy(Tokenizer):
    """Codes of a number: all cells hold it. Media of codes: the sum and the decode options."""

    loads: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def __init__(self, spec: Spec, layers: int) -> None:
        self.spec, self.layers = spec, layers

    @classmethod
    def load(cls, spec: Spec, checkpoint: Any, *, device: str, dtype: str, num_codebooks: int = 0, **rest: Any) -> Toy:
        cls.loads.append((spec.name, {"checkpoint": checkpoint, "num_codebooks": num_codebooks, **rest}))
        return cls(spec, num_codebooks or spec.num_codebooks)

    def encode_batch(self, media: Sequence[Any]) -> list[Codes]:
        if any(item < 0 for item in media):
            raise MediaError("broken", "less than nothing")
        return [Codes(np.full((self.layers, self.spec.num_frames or 3), item), self.spec) for item in media]

    def decode_batch(self, codes: Sequence[Codes], **options: Any) -> list[Any]:
        for item in codes:
            self.check(item)
        return [(self.spec.modality, int(item.values.sum()), options) for item in codes]

    def _encode(self, prepared: Any) -> list[Codes]:
        raise NotImplementedError("numbers are no media, so nothing is prepared")

    def _decode(self, codes: Any) -> list[Any]:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "loads", [])
    toy = {"native": f"{__name__}:Toy"}
    entries = {name: (spec, toy) for name, (spec, _) in catalogue.BUILT_IN.items()}
    monkeypatch.setattr(registry, "BUILT_IN", entries)


def test_there_and_back() -> None:
    any2any = load_multimodal("anygpt", text_tokenizer=llama_tokenizer())
    ids = any2any.encode(["See ", Image(7), " hear ", Speech(5), Music(2), Image(1)])
    assert ids.dtype == np.uint16
    parts = any2any.decode(ids, image={"steps": 3})
    assert parts == [
        "See ",
        ("image", 7 * 32, {"steps": 3}),
        " hear ",
        ("speech", 15, {}),
        ("music", 24, {}),
        ("image", 32, {"steps": 3}),
    ]
    assert parts.report.ok


def test_tokenizers_load_once_and_only_when_needed(tmp_path: Path) -> None:
    any2any = load_multimodal("anygpt", checkpoints={"seed-2": tmp_path}, options={"seed-2": {"quick": True}})
    assert Toy.loads == []
    any2any.encode([TextIds([1, 2])])
    assert Toy.loads == []
    any2any.decode(any2any.encode([Image(1), Image(2)]))
    assert Toy.loads == [("seed-2", {"checkpoint": tmp_path, "num_codebooks": 0, "quick": True})]
    any2any.encode([Speech(1)])
    assert Toy.loads[1][1]["num_codebooks"] == 1, "AnyGPT writes one layer of speech, so one is computed"


def test_codes_and_text_ids_pass_through() -> None:
    any2any = load_multimodal("anygpt")
    [codes] = any2any.to_codes([Music(3)])
    ids = any2any.encode([TextIds([9]), codes])
    assert any2any.decode(ids) == [TextIds([9]), ("music", 36, {})]


def test_a_part_alone_is_a_list_of_one() -> None:
    any2any = load_multimodal("anygpt", text_tokenizer=llama_tokenizer())
    for part in (Image(1), "Three words here", TextIds([9])):
        assert any2any.encode(part).tolist() == any2any.encode([part]).tolist()
    for wrong in (None, 3, iter([Image(1)])):
        with pytest.raises(UsageError, match="part 0 is a"):
            any2any.encode(wrong)


def test_policies_reach_the_decoder() -> None:
    any2any = load_multimodal("seed-llama")
    ids = any2any.encode([Image(1)])[:-3]
    with pytest.raises(VocabularyError, match="id 31"):
        any2any.decode(ids)
    assert any2any.decode(ids, policy="drop") == []
    parts = any2any.decode(ids, policy="pad")
    assert parts == [("image", 32, {})]
    assert not parts.report.ok


def test_an_extended_tokenizer_wins_over_the_table() -> None:
    tokenizer = llama_tokenizer(31000)
    layout = load_multimodal("seed-llama").vocabulary.layout
    tokenizer.add_tokens(layout.tokens())
    any2any = load_multimodal("seed-llama", text_tokenizer=tokenizer)
    assert any2any.encode([Image(1)]).tolist() == [39192, *[31001] * 32, 39193]


def test_a_given_tokenizer_is_used() -> None:
    mine = Toy(Spec("seed-2", "image", 1, 8192, num_frames=32, id="seed-2@mine"), 1)
    any2any = load_multimodal("anygpt", tokenizers={"seed-2": mine})
    any2any.encode([Image(1)])
    assert Toy.loads == []
    assert any2any.tokenizer("image") is mine
    with pytest.raises(UsageError, match="is seed-2@mine"):
        load_multimodal("anygpt", tokenizers={"encodec-32khz": mine})


def test_what_is_refused() -> None:
    any2any = load_multimodal("seed-llama")
    with pytest.raises(UsageError, match="has no speech"):
        any2any.encode([Speech(1)])
    with pytest.raises(UsageError, match="part 1 is a dict"):
        any2any.encode([Image(1), {}])
    with pytest.raises(UsageError, match="text tokenizer"):
        any2any.encode(["words"])
    with pytest.raises(MediaError, match="less than nothing"):
        any2any.encode([Image(-1)])
    with pytest.raises(UsageError, match=r"checkpoints for .*encodec"):
        load_multimodal("seed-llama", checkpoints={"encodec-32khz": "x"})
    foreign = Codes(np.zeros((1, 32), int), Spec("seed-2", "image", 1, 8192, id="seed-2@other"))
    mine = Toy(Spec("seed-2", "image", 1, 8192, num_frames=32, id="seed-2@mine"), 1)
    with pytest.raises(CodesError, match="seed-2@other"):
        load_multimodal("seed-llama", tokenizers={"seed-2": mine}).to_media([foreign])


@pytest.mark.parametrize("options", [{"imagee": {"seeds": [1]}}, {"skip_special_tokens": True}, {"speech": {}}])
def test_decode_options_are_of_a_modality_that_is_there(options: dict[str, Any]) -> None:
    any2any = load_multimodal("seed-llama")
    ids = any2any.encode([TextIds([9])])
    with pytest.raises(UsageError, match=rf"no option {next(iter(options))}: .* seed-llama has image, as in image="):
        any2any.decode(ids, **options)


def test_media_around_files() -> None:
    assert multimodal.Image("a.png").source == "a.png"
    assert Speech(Audio(np.zeros((1, 4), np.float32), 16000)).source.sample_rate == 16000


def test_a_tokenizer_that_has_no_choice_of_layers_is_not_asked_for_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed(Toy):
        @classmethod
        def load(cls, spec: Spec, checkpoint: Any, *, device: str, dtype: str) -> Toy:
            return super().load(spec, checkpoint, device=device, dtype=dtype)

    monkeypatch.setitem(globals(), "Fixed", Fixed)
    spec = registry.find("speechtokenizer-snake").spec
    monkeypatch.setitem(registry.BUILT_IN, spec.name, (spec, {"native": f"{__name__}:Fixed"}))
    any2any = load_multimodal("anygpt")
    assert any2any.to_codes([Speech(7)])[0].num_codebooks == 8  # type: ignore[union-attr]
    assert len(any2any.encode([Speech(7)])) == 5  # the first layer's three codes, between their markers


def test_a_text_tokenizer_by_its_folder(tmp_path: Path) -> None:
    llama = llama_tokenizer()
    llama.save_pretrained(tmp_path)
    by_folder, by_itself = (load_multimodal("anygpt", text_tokenizer=one) for one in (str(tmp_path), llama))
    assert by_folder.encode(["words"]).tolist() == by_itself.encode(["words"]).tolist()
    with pytest.raises(UsageError, match="no text tokenizer at"):
        load_multimodal("anygpt", text_tokenizer=tmp_path / "none")
