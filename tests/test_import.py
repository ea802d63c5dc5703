"""Importing costs nothing: no heavy package is loaded before work starts."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "diffusers", "transformers", "ray", "PIL", "soundfile", "pyarrow", "tokenizers", "av", "tqdm", "mem0")


def loaded_by(code: str) -> set[str]:
    """Top-level packages in sys.modules after `code` in a fresh interpreter."""
    script = f"{code}\nimport json, sys\nprint(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import anytok",
        "import anytok; anytok.Spec, anytok.Codes, anytok.list_tokenizers(), anytok.load_tokenizer, anytok.Audio",
        "import anytok; anytok.load_vocabulary('anygpt')",
        "import anytok.cli; anytok.cli.build_parser()",
        "import anytok.cli; anytok.cli.main(['list']); anytok.cli.main(['info', 'seed-2'])",
        "import anytok; anytok.Tokenizer, anytok.MediaError, dir(anytok)",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert not loaded_by(code) & set(HEAVY)


@pytest.mark.parametrize("code", ["import anytok", "import anytok.cli; anytok.cli.build_parser()"])
def test_no_validator_is_loaded_before_there_is_something_to_check(code: str) -> None:
    assert "pydantic" not in loaded_by(code)


def test_import_is_quick() -> None:
    """Under 0.3 s over an empty interpreter: the best of five, in processor time, which a busy machine spares."""

    def seconds(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    seconds("import anytok")  # writes the bytecode
    cost = min(seconds("import anytok") for _ in range(5)) - min(seconds("pass") for _ in range(5))
    assert cost < 0.3


def test_every_public_name_is_there() -> None:
    import anytok

    for name in anytok.__all__:
        assert getattr(anytok, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        anytok.no_such_name  # noqa: B018
