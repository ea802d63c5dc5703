"""A vocabulary by its name, from its file, or laid out anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError, VocabularyError
from ..spec import Spec
from .hf import ByteTokenizer
from .layout import Segment, build_layout, segment_of
from .layouts import LAYOUTS, find_layout
from .vocabulary import Vocabulary

__all__ = ["build_vocabulary", "load_vocabulary"]


def load_vocabulary(source: str | Path) -> Vocabulary:
    """A published vocabulary by name, or one's own from the file that `anytok vocab build` or `Vocabulary.save` wrote.

    The names are "anygpt", "anygpt-chat", "seed-llama", "mio", and "mini", that of the small models, whose text ids are
    bytes. A name wins over a file that is called like it. Raises UsageError where there is neither, VocabularyError on
    files that cannot be used.
    """
    if not isinstance(source, str | Path) or not str(source):
        raise UsageError(f"vocabulary {source!r}: expected a name ({', '.join(LAYOUTS)}) or a file")
    path = Path(source).expanduser()
    is_name = isinstance(source, str) and not path.suffix and len(path.parts) == 1
    if is_name and (source in LAYOUTS or not path.exists()):
        return Vocabulary(find_layout(str(source)), ByteTokenizer() if source == "mini" else None)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise UsageError(f"vocabulary {str(source)!r}: {found}; expected a file that `anytok vocab build` wrote")
    return Vocabulary.from_file(path)


def build_vocabulary(name: str, text: Any, items: Sequence[str | Spec | Segment], *, reserved: int = 0) -> Vocabulary:
    """One's own vocabulary: behind the text ids, special tokens (str) and tokenizers, in the order of their ids.

    `text` is a text tokenizer, or how many ids it has. A tokenizer is given by its Spec (all layers, frame by
    frame), or by `segment_of(spec, num_codebooks=1, …)` for other choices; a Spec's id pins its weights. `reserved`
    ids stay free for later. Raises VocabularyError where two tokens are spelled alike, or so that media tokens cannot
    be told apart in text, where the text tokenizer has one already, and on a tokenizer given twice.

    >>> build_vocabulary("mine", 32000, ["<eot>", Spec("codec", "music", 4, 1024)]).layout.total
    36099
    """
    segments = [segment_of(item) if isinstance(item, Spec) else item for item in items]
    tokenizer = None if isinstance(text, int) else text
    layout = build_layout(name, text if isinstance(text, int) else len(text), segments, reserved)
    if not layout.total:
        raise VocabularyError(f"{name}: no text, no tokens, no tokenizers: a vocabulary needs at least one id")
    taken: dict[str, int] = getattr(tokenizer, "get_vocab", dict)()
    if doubled := [token for token in layout.tokens() if token in taken]:
        raise VocabularyError(
            f"the text tokenizer has {len(doubled)} of the tokens of {name} already, first {doubled[0]}: leave out "
            f"special tokens that it has, and spell codes and markers in another way"
        )
    return Vocabulary(layout, tokenizer)
