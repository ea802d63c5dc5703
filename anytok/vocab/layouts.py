"""Published layouts, as data. An actual tokenizer wins over these tables: see `Vocabulary.from_tokenizer`."""

from __future__ import annotations

from collections.abc import Callable

from ..arguments import did_you_mean
from ..errors import UsageError
from .layout import Layout, Segment, build_layout

__all__ = ["LAYOUTS", "find_layout"]

_ANYGPT = (
    "[Human]",
    "[MMGPT]",
    "<eoh>",
    "<eos>",
    Segment("seed-2", "image", 1, 8192, "<👀{}>", "<soim>", "<eoim>", num_frames=32),
    # U+1F5E3 U+FE0F; text often loses the second, the variation selector.
    Segment(
        "speechtokenizer-snake",
        "speech",
        1,
        1024,
        "<🗣\ufe0f{}>",
        "<sosp>",
        "<eosp>",
        aliases=("<🗣{}>",),
        frame_rate=50,
    ),
    Segment("encodec-32khz", "music", 4, 2048, "<🎶{}>", "<somu>", "<eomu>", frame_rate=50),
)


def _anygpt() -> Layout:
    """AnyGPT-base (2402.12226): the order in which its training adds tokens to LLaMA-2's 32,000."""
    return build_layout("anygpt", 32000, _ANYGPT)


def _anygpt_chat() -> Layout:
    """AnyGPT-chat: the base and two tokens that fine-tuning adds."""
    return build_layout("anygpt-chat", 32000, [*_ANYGPT, "<-Res->", "<-Ins->"])


def _seed_llama() -> Layout:
    """SEED-LLaMA (2310.01218): code c is 32000 + c. Which of 40192 and 40193 is `<img>` is not documented;
    here `<img>` comes first, and a tokenizer's own table decides.
    """
    image = Segment("seed-2", "image", 1, 8192, "<img_{}>", "<img>", "</img>", digits=5, num_frames=32)
    return build_layout("seed-llama", 32000, [image])


def _mio() -> Layout:
    """MIO (2409.17692): its texts and its order within a run are published. The ids here follow Yi's 64,000
    in the order images, speech, and only a tokenizer's own table can confirm them.
    """
    image = Segment("seed-2", "image", 1, 8192, "<img{}>", "<image>", "</image>", num_frames=32)
    speech = Segment(
        "speechtokenizer",
        "speech",
        4,
        1024,
        "<spch{}>",
        "<spch>",
        "</spch>",
        pattern="layer-major",
        frame_rate=50,
    )
    return build_layout("mio", 64000, [image, speech])


def _mini() -> Layout:
    """The small models that ship with anytok, behind text of one id per byte. All layers are written, so sound
    comes back whole."""
    image = Segment("seed-mini", "image", 1, 8192, "<image_{}>", "<image>", "</image>", num_frames=32)
    speech = Segment("speech-mini", "speech", 8, 512, "<speech_{}>", "<speech>", "</speech>", frame_rate=50)
    music = Segment("music-mini", "music", 4, 1024, "<music_{}>", "<music>", "</music>", frame_rate=50)
    return build_layout("mini", 256, ["<s>", "</s>", "<user>", "<assistant>", image, speech, music])


LAYOUTS: dict[str, Callable[[], Layout]] = {
    "anygpt": _anygpt,
    "anygpt-chat": _anygpt_chat,
    "seed-llama": _seed_llama,
    "mio": _mio,
    "mini": _mini,
}


def find_layout(name: str) -> Layout:
    """A published layout by name; raises UsageError listing the known names."""
    if name not in LAYOUTS:
        raise UsageError(f"no vocabulary is called {name!r}; known: {', '.join(LAYOUTS)}{did_you_mean(name, LAYOUTS)}")
    return LAYOUTS[name]()
