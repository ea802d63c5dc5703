"""AutoProcessor gives back a saved Processor, or says what it would need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from qwen import qwen_tokenizer
from test_generation_chat import CAT, TALK, processor_of

from anytok import UsageError, load_multimodal
from anytok.checkpoints.around_torchaudio import around_torchaudio
from anytok.generation import Processor

with around_torchaudio():
    from transformers import AutoProcessor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    processor_of(qwen_tokenizer(), "<eot>").save_pretrained(tmp_path)
    return tmp_path


def test_it_comes_back_with_its_chat_template(folder: Path) -> None:
    again = AutoProcessor.from_pretrained(folder)
    assert type(again) is Processor
    talk = [*TALK, {"role": "user", "content": ["Look: ", CAT]}]
    wanted = processor_of(qwen_tokenizer(), "<eot>").apply_chat_template(talk)["input_ids"]
    assert again.apply_chat_template(talk)["input_ids"].tolist() == wanted.tolist()
    assert not again.bos and again.tokenizer.chat_template == qwen_tokenizer().chat_template


def test_options_of_loading_are_handed_on(folder: Path) -> None:
    assert AutoProcessor.from_pretrained(folder, device="meta").any2any._loading["device"] == "meta"
    with pytest.raises(UsageError, match="tokenizers for 'seed-3': mine speaks"):
        AutoProcessor.from_pretrained(folder, tokenizers={"seed-3": None})
    with pytest.raises(UsageError, match="from_pretrained has no revision='main'"):
        Processor.from_pretrained(folder, revision="main")


def test_the_small_models_processor_comes_back(tmp_path: Path) -> None:
    Processor(load_multimodal("mini"), template="mini").save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert type(again) is Processor and again.template_name == "mini"


IMPORTS = "from anytok.checkpoints.around_torchaudio import around_torchaudio\nwith around_torchaudio():\n    "
LOAD = "from transformers import AutoProcessor\n    processor = AutoProcessor.from_pretrained({folder!r}{more})\n"


@pytest.mark.parametrize(
    ("more", "before", "printed"),
    [
        (", trust_remote_code=True", "", "Processor False"),
        ("", "", "custom code which must be executed"),
        ("", "import transformers.models.auto.processing_auto\n    import anytok.generation\n    ", "Processor False"),
    ],
)
def test_in_a_process_that_has_not_used_it(folder: Path, more: str, before: str, printed: str) -> None:
    """Where anytok is not imported, transformers asks whether it may run what the folder says."""
    script = IMPORTS + before + LOAD.format(folder=str(folder), more=more)
    script += "print(type(processor).__name__, processor.bos)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert printed in done.stdout + done.stderr


def test_a_folder_without_a_vocabulary_says_so(folder: Path) -> None:
    settings = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({key: settings[key] for key in ("processor_class",)}))
    with pytest.raises(
        UsageError, match=r"holds no anytok processor .*: expected a folder with save_pretrained's files"
    ):
        AutoProcessor.from_pretrained(folder)
