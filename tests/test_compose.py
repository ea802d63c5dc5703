"""Documents from stored codes: the ids that the API gives from the media, and what is learned of them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from llama import llama_tokenizer
from small_suite import small_suite

from anytok import Audio, Codes, CodesError, Image, Music, Spec, Speech, UsageError, Vocabulary, VocabularyError
from anytok.compose import Composer, Document, Form, Sequence, StoredItem, pack
from anytok.compose.composer import draw
from anytok.generation import Processor
from anytok.multimodal import Multimodal
from anytok.vocab import Special, build_vocabulary, load_vocabulary, segment_of

WORDS = ("a red house", "Wörter <eoh> 🎶", "she says hello", "a slow waltz")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Multimodal:
    return small_suite(tmp_path_factory.mktemp("suite") / "unclip")


@pytest.fixture(scope="module")
def media() -> list[Any]:
    """Pictures, speech and music, as the API takes them."""
    draws = np.random.default_rng(0)
    found: list[Any] = [Image(draws.integers(0, 256, (40, 40, 3), dtype=np.uint8)) for _ in range(2)]
    for count in (1600, 4000):
        found.append(Speech(Audio(draws.normal(0, 0.1, (1, count)).astype(np.float32), 16000)))
        found.append(Music(Audio(draws.normal(0, 0.1, (1, count)).astype(np.float32), 32000)))
    return found


@pytest.fixture(scope="module")
def stored(suite: Multimodal, media: list[Any]) -> list[StoredItem]:
    """What a job keeps of them: all layers, a text, and where they belong."""
    items = []
    for number, one in enumerate(media):
        [codes] = suite.tokenizer(one.modality).encode_batch([one.source])
        meta = {"page": f"page {number // 3}", "place": str(10 - number), "who": ("user", "assistant")[number % 2]}
        items.append(StoredItem(f"item {number}", codes, WORDS[number % 4], meta))
    return items


def one_by_one(composer: Composer, items: list[StoredItem]) -> list[Document]:
    return [composer.compose([item]) for item in items]


def test_items_are_what_the_api_makes_of_the_media(suite, media, stored):
    composer = Composer(suite.vocabulary, Form(bos="<s>"))
    for one, item in zip(media, stored, strict=True):
        document = composer.compose([item])
        assert document.ids.tolist() == suite.encode([Special("<s>"), one]).tolist()
        assert document.ids.dtype == suite.vocabulary.dtype and document.learned.all() and document.key == item.key
        _, codes = suite.vocabulary.from_ids(document.ids, "strict")
        layers = suite.vocabulary.layout.segment(item.codes.spec.name).num_codebooks
        assert np.array_equal(codes.values, item.codes.values[:layers])


@pytest.mark.parametrize("order", ["text-first", "medium-first", "drawn"])
def test_captions_are_what_a_processor_makes_of_the_media(suite, media, stored, order):
    processor = Processor(suite)
    composer = Composer(suite.vocabulary, Form("caption", order=order, seed=3, bos="<s>"))
    found, orders = composer.compose_batch([[item] for item in stored], [item.key for item in stored]), set()
    for one, item, document in zip(media, stored, found, strict=True):
        place = f"<{one.modality}>"
        told = {"images" if one.modality == "image" else "audio": [one.source]}
        both = [processor(text, **told)["input_ids"][0] for text in (item.text + place, place + item.text)]
        assert document.ids.tolist() in both
        orders.add(both.index(document.ids.tolist()))
    assert orders == {"text-first": {0}, "medium-first": {1}, "drawn": {0, 1}}[order]


def test_a_batch_is_its_documents_one_by_one(suite, stored):
    for form in (Form("caption", loss="answers"), Form("conversation", template="anygpt", bos="<s>", loss="answers")):
        composer = Composer(suite.vocabulary, form)
        together = composer.compose_batch([[item] for item in stored], [item.key for item in stored])
        for alone, one in zip(one_by_one(composer, stored), together, strict=True):
            assert np.array_equal(alone.ids, one.ids) and np.array_equal(alone.learned, one.learned)


def test_the_order_depends_on_seed_and_key_alone(suite, stored):
    def texts_first(seed: int) -> list[bool]:
        composer = Composer(suite.vocabulary, Form("caption", seed=seed))
        keys = [f"{number}" for number in range(64)]
        found = composer.compose_batch([[stored[0]]] * 64, keys)
        return [bool(one.ids[0] < suite.vocabulary.layout.text_size) for one in found]

    assert texts_first(0) == texts_first(0) != texts_first(1)
    assert 20 < sum(texts_first(0)) < 44
    assert draw(0, "a", "order", 1000) == draw(0, "a", "order", 1000) != draw(0, "a", "ask", 1000)


def test_conversations_are_what_a_processor_learns_from(suite, media, stored):
    processor = Processor(suite, template="anygpt")
    asks = {"ask_text": ("Describe it: ", "What is it? "), "ask_medium": ("Show ",)}
    for order in ("text-first", "medium-first"):
        form = Form("conversation", order=order, template="anygpt", bos="<s>", loss="answers", **asks)
        composer, seen = Composer(suite.vocabulary, form), set()
        for one, item in zip(media, stored, strict=True):
            document = composer.compose([item])
            rows = []
            for ask in form.ask_medium if order == "text-first" else form.ask_text:
                question, answer = (item.text, one) if order == "text-first" else (one, item.text)
                talk = [("user", [ask, question]), ("assistant", [answer])]
                rows.append(processor.apply_chat_template(talk, learn=True))
            [row] = [row for row in rows if row["input_ids"].tolist() == document.ids.tolist()]
            assert Sequence((document,)).labels.tolist() == row["labels"].tolist()
            seen.add(tuple(row["input_ids"][:12].tolist()))
        assert len(seen) > 1


def test_dialogues_of_a_column(suite, media, stored):
    processor = Processor(suite, template="anygpt")
    form = Form("conversation", template="anygpt", document="page", role="who", bos="<s>", loss="answers")
    pair = [StoredItem("a", stored[0].codes, None, {"page": "p", "who": "user"}),
            StoredItem("b", stored[2].codes, "aloud", {"page": "p", "who": "user"}),
            StoredItem("c", stored[3].codes, "here", {"page": "p", "who": "assistant"})]  # fmt: skip
    document = Composer(suite.vocabulary, form).compose(pair)
    talk = [("user", [media[0], "aloud", media[2]]), ("assistant", ["here", media[3]])]
    row = processor.apply_chat_template(talk, learn=True)
    assert document.ids.tolist() == row["input_ids"].tolist() and document.key == "p"
    assert Sequence((document,)).labels.tolist() == row["labels"].tolist()


def test_interleaved_by_a_column_and_a_position(suite, media, stored):
    form = Form("interleaved", document="page", position="place", bos="<s>", eos="</s>", loss="media")
    document = Composer(suite.vocabulary, form).compose(stored[:3])
    parts: list[Any] = [Special("<s>")]
    for number in (2, 1, 0):  # whose places are the texts "8", "9" and "10": they are ordered as numbers
        parts += [WORDS[number], media[number]]
    ids = suite.encode([*parts, Special("</s>")])
    assert document.ids.tolist() == ids.tolist() and document.key == "page 0"
    runs = [part for part in suite.vocabulary.from_ids(ids) if isinstance(part, Codes)]
    assert document.learned.sum() == sum(len(suite.vocabulary.to_ids(run)) for run in runs)
    assert set(ids[~document.learned]) & set(range(suite.vocabulary.layout.segments[0].first_id, 10**6)) == set()


def test_answers_of_a_caption_are_its_second_part(suite, stored):
    form = Form("caption", order="text-first", loss="answers", bos="<s>", eos="</s>")
    document = Composer(suite.vocabulary, form).compose([stored[0]])
    assert document.learned.tolist() == [False] * (len(document) - 35) + [True] * 35  # 32 codes, two markers, the end
    turned = Composer(suite.vocabulary, Form("caption", order="medium-first", loss="answers")).compose([stored[0]])
    assert turned.learned.tolist() == [False] * 34 + [True] * (len(turned) - 34)


def test_own_vocabulary_with_a_delay_pattern_on_another_text_tokenizer(stored):
    """And back to the same codes; with the API over the same vocabulary."""
    words = llama_tokenizer(900)
    specs = {item.codes.spec.modality: item.codes.spec for item in stored}
    own = build_vocabulary("own", words, [segment_of(specs["music"]), "<end>", segment_of(specs["speech"]),
                                          segment_of(specs["image"], start="<pic>")])  # fmt: skip
    own.extend(words)
    for layers in (4, 3, 1):
        vocabulary = own.with_runs("music", num_codebooks=layers, pattern="flat-delay")
        assert vocabulary.layout.tokens() == own.layout.tokens() and vocabulary.text_tokenizer is words
        composer = Composer(vocabulary, Form("caption", order="text-first", eos="<end>"))
        for item in stored:
            document = composer.compose([item])
            [text, codes, end] = vocabulary.from_ids(document.ids, "strict")
            wanted = item.codes.values[: vocabulary.layout.segment(item.codes.spec.name).num_codebooks]
            assert np.array_equal(codes.values, wanted) and end == "<end>" and text.strip() == item.text
            assert document.ids.tolist() == vocabulary.to_ids([item.text, item.codes, Special("<end>")]).tolist()


def test_layers_that_are_left_out_stay_taken():
    anygpt = load_vocabulary("anygpt")
    two = anygpt.with_runs("music", num_codebooks=2)
    assert two.layout.total == anygpt.layout.total and two.hash != anygpt.hash
    spec = Spec("encodec-32khz", "music", 4, 2048)
    ids = two.to_ids(Codes(np.array([[1, 2], [3, 4], [5, 6], [7, 8]]), spec))
    assert ids.tolist() == [49416, 41225, 41224 + 2051, 41226, 41224 + 2052, 49417]
    with pytest.raises(VocabularyError):
        two.from_ids([49416, 41225, 41224 + 2051, 41224 + 4096 + 5, 49417])
    with pytest.raises(VocabularyError, match="5 codebooks of encodec-32khz asked for: anygpt has ids for 4"):
        anygpt.with_runs("music", num_codebooks=5)
    with pytest.raises(VocabularyError, match="has no video; it has image, music, speech"):
        anygpt.with_runs("video", pattern="flat-delay")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "conversation"}, "need template"),
        ({"kind": "interleaved"}, "need document"),
        ({"kind": "item", "loss": "answers"}, "cannot have loss = 'answers'"),
        ({"kind": "item", "order": "drawn"}, "cannot have order = 'drawn'"),
        ({"kind": "caption", "document": "page"}, "cannot have document = 'page'"),
        ({"kind": "caption", "ask_text": ("Say ",)}, "cannot have ask_text"),
        ({"kind": "conversation", "template": "anygpt", "eos": "</s>"}, "cannot have eos"),
        ({"kind": "conversation", "template": "anygpt", "role": "who"}, "with roles need document"),
        ({"kind": "conversation", "template": "anygpt", "bos": "<x>"}, "anygpt begins with '<s>'"),
        ({"kind": "conversation", "template": "nobody's"}, "no template is called"),
        ({"kind": "captions"}, "did you mean 'caption'"),
    ],
)
def test_forms_that_make_no_sense_are_refused(given, said):
    with pytest.raises(UsageError, match=said):
        Form(**given)


def test_what_a_document_lacks_is_said_by_name(suite, stored):
    composer = Composer(suite.vocabulary, Form("caption"))
    bare = StoredItem("bare.png", stored[0].codes)
    with pytest.raises(UsageError, match=r"bare\.png has no text: a document of kind 'caption' needs one"):
        composer.compose([bare])
    fine, missing = composer.compose_batch([[stored[0]], [bare]], ["a", "b"])
    assert isinstance(fine, Document) and isinstance(missing, UsageError)
    paged = Composer(suite.vocabulary, Form("interleaved", document="page"))
    with pytest.raises(UsageError, match=r"bare\.png has no 'page' in its metadata"):
        paged.compose([bare])
    foreign = StoredItem("x", Codes(np.zeros((1, 32), int), Spec("other", "image", 1, 8, num_frames=32)), "x")
    with pytest.raises(VocabularyError, match="has no ids for other"):
        composer.compose([foreign])
    with pytest.raises(UsageError, match="2 items in a document of kind 'caption': expected one"):
        composer.compose(stored[:2])


def test_labels_positions_and_segments_by_hand():
    one = Document("a", np.array([5, 6, 7], np.uint16), np.array([True, True, False]))
    two = Document("b", np.array([8, 65000], np.uint16), np.array([False, True]))
    packed = Sequence((one, two))
    assert packed.input_ids.tolist() == [5, 6, 7, 8, 65000] and packed.input_ids.dtype == np.int32
    assert packed.labels.tolist() == [-100, 6, -100, -100, 65000]
    assert packed.position_ids.tolist() == [0, 1, 2, 0, 1]
    assert packed.segment_ids.tolist() == [0, 0, 0, 1, 1]
    assert packed.cu_seqlens.tolist() == [0, 3, 5] and len(packed) == 5


def test_packed_sequences_come_back_as_the_same_codes(suite, stored):
    composer = Composer(suite.vocabulary, Form("caption", bos="<s>", eos="</s>"))
    documents = one_by_one(composer, stored)
    sequences = list(pack(documents, 200))
    assert len(sequences) < len(documents)
    found = [part for one in sequences for part in suite.vocabulary.from_ids(one.input_ids, "strict")]
    wanted = {item.key: item.codes for item in stored}
    runs = iter(part for part in found if isinstance(part, Codes))
    for one in sequences:
        for document in one.documents:
            codes = next(runs)
            assert np.array_equal(codes.values, wanted[document.key].values[: codes.num_codebooks])
    assert next(runs, None) is None


def test_long_documents_are_cut_between_frames(suite, stored):
    composer = Composer(suite.vocabulary, Form("caption", order="text-first", bos="<s>"))
    music = stored[-1]
    document = composer.compose([music])
    pieces = composer.cut(document, 21)
    segment = suite.vocabulary.layout.segment("encodec-32khz")
    begins = [int(one.ids[0]) - segment.first_id for one in pieces[1:]]
    assert len(pieces) > 2 and max(map(len, pieces)) <= 21
    assert any(0 <= number < segment.num_ids for number in begins)
    assert all(number < segment.codebook_size for number in begins if number < segment.num_ids)  # layer 0
    assert np.concatenate([one.ids for one in pieces]).tolist() == document.ids.tolist()
    assert [one.offset for one in pieces] == np.cumsum([0, *map(len, pieces[:-1])]).tolist()
    picture = composer.compose([stored[0]])
    with pytest.raises(CodesError, match=r"item 0 has \d+ ids, and in the 30 from \d+ on no place to cut it"):
        composer.cut(picture, 30)
    *_, last = composer.cut(picture, 34)
    assert len(last) == 34  # the whole picture, never a part of one
    delayed = Composer(suite.vocabulary.with_runs("music", pattern="flat-delay"), Form())
    with pytest.raises(CodesError, match="not frame-major"):
        delayed.cut(delayed.compose([music]), 21)


def test_nothing_here_needs_torch():
    import subprocess

    script = "import sys, anytok.compose, anytok.vocab; sys.exit(any(m in sys.modules for m in ('torch', 'pyarrow')))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_text_that_spells_tokens_stays_text(suite, stored):
    spelled = StoredItem("x", stored[0].codes, "<soim><eoh>")
    ids = Composer(suite.vocabulary, Form("caption", order="text-first")).compose([spelled]).ids
    text, _ = suite.vocabulary.from_ids(ids)
    assert "<soim>" in text and ids[:-34].max() < suite.vocabulary.layout.text_size
    ordinary = Vocabulary(suite.vocabulary.layout, _Splitless(suite.vocabulary))
    [broken] = Composer(ordinary, Form("caption")).compose_batch([[spelled]], ["x"])
    assert isinstance(broken, VocabularyError)


class _Splitless:
    """A tokenizer whose added tokens are ordinary, so that words become them."""

    is_fast = True

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._number = vocabulary.layout.segments[0].start_id

    def __call__(self, texts: Any, **_: Any) -> dict[str, Any]:
        return {"input_ids": [[1, self._number] for _ in texts] if isinstance(texts, list) else [1, self._number]}

    def decode(self, ids: list[int], **_: Any) -> str:
        return "<soim>"
