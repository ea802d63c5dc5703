"""A day with anytok as a user has it: the installed wheel, an empty folder, and every command.

    python tests/day_in_the_life.py [WHEEL] [--folder FOLDER]

Without WHEEL one is built from this checkout. It is installed into a fresh virtual environment, which finds torch and
all else in the environment that runs this script, by a .pth file with the path of that: nothing is downloaded, and no
editable install of anytok counts there, since paths that a .pth file adds are not searched for further .pth files. What
runs is asked where its anytok lies: never in this checkout. A torchaudio that cannot be imported is hidden, as if it
were not installed.

A line for each step, with its seconds. The first step that is not as a user expects ends the day, with exit code 1. A
new command, or a new option of one, gets a step of its own, in the order in which a user meets it; at the end of the
day no command of `anytok --help` may be left, but those in `LATER`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from tiny_codec import MODEL

HERE = Path(__file__).parent
ROOT = HERE.parent
LATER: set[str] = set()  # commands that are not walked yet
SINKS = ("parquet", "hf", "webdataset", "megatron", "litdata", "lhotse", "anygpt")


class Surprise(Exception):
    """What a user would not expect."""


class Day:
    """The folder of a day, the environment in it, and the home in which a user works."""

    def __init__(self, folder: Path, wheel: Path | None = None) -> None:
        self.folder, self.wheel = folder, wheel
        self.home, self.bin = folder / "home", folder / "environment" / "bin"
        self.home.mkdir(parents=True)
        (folder / "user").mkdir()
        self.walked: set[str] = set()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_", "ANYTOK_"))}
        self.environment = kept | {
            "PATH": f"{self.bin}{os.pathsep}{os.environ.get('PATH', '')}", "HOME": str(folder / "user"),
            "HF_HOME": str(folder / "user" / "hf"), "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONNOUSERSITE": "1",
        }  # fmt: skip

    def anytok(self, line: str, *, code: int = 0, says: str = "") -> str:
        """What a command writes to stdout; it must end with this code, and say each of these parts somewhere."""
        words = shlex.split(line)
        self.walked.add(words[0])
        if words[:2] in (["vocab", "show"], ["vocab", "build"]):
            self.walked.add(" ".join(words[:2]))
        done = self.run([self.bin / "anytok", *words])
        said = done.stdout + done.stderr
        if done.returncode != code or "Traceback" in said:
            raise Surprise(f"anytok {line}: exit code {done.returncode}, expected {code}:\n{said}")
        if missing := [part for part in says.split(" & ") if part not in said]:
            raise Surprise(f"anytok {line}: {missing} is not in what it says:\n{said}")
        return done.stdout

    def python(self, name: str) -> str:
        """What one of PROGRAMS writes, in the user's folder."""
        done = self.run([self.bin / "python", "-c", PROGRAMS[name]])
        if done.returncode:
            raise Surprise(f"the program {name!r}: exit code {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def run(self, command: Sequence[str | Path], where: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, command)), cwd=where or self.home, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def start(self, line: str) -> subprocess.Popen[str]:
        """A command as a user starts it: in a process group of its own, with a Ctrl-C that is not ignored, as it is in
        what a script starts in the background."""
        self.walked.add(line.split()[0])
        return subprocess.Popen(
            [str(self.bin / "anytok"), *shlex.split(line)], cwd=self.home, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def write(self, name: str, text: str) -> None:
        (self.home / name).write_text(text, "utf-8")


Step = Callable[[Day], object]
STEPS: list[Step] = []


def step(function: Step) -> Step:
    STEPS.append(function)
    return function


def expect(is_so: object, what: str) -> None:
    if not is_so:
        raise Surprise(what)


def wait_for(ready: Callable[[], object], process: subprocess.Popen[str], what: str) -> None:
    """Until something has happened that a process does."""
    began = time.monotonic()
    while not ready():
        if process.poll() is not None or time.monotonic() > began + 120:
            code = process.poll()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with the workers of a job
            raise Surprise(f"{what} did not happen (exit code {code}):\n{process.communicate()[0]}")
        time.sleep(0.02)


def digest_of(folder: Path) -> str:
    """SHA-256 of the names and bytes of all files below a folder."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return found.hexdigest()


@step
def build_the_wheel(day: Day) -> None:
    if day.wheel is None:
        done = subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(day.folder / "wheel")], cwd=ROOT,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        expect(done.returncode == 0, f"no wheel can be built:\n{done.stdout}{done.stderr}")
        [day.wheel] = (day.folder / "wheel").glob("*.whl")
    expect(day.wheel.stat().st_size < 25e6, f"{day.wheel} has {day.wheel.stat().st_size} bytes")


@step
def install_it(day: Day) -> None:
    python = day.bin / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", day.bin.parent],
        [*pip, "install", "-q", "--no-index", "--no-deps", day.wheel],
    ):
        done = day.run(command)
        expect(done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    ours = day.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).stdout.strip()
    present = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    present |= {path for path in sys.path if path.endswith(("site-packages", "dist-packages"))}
    Path(ours, "present.pth").write_text("\n".join(sorted(present)) + "\n")
    if day.run([python, "-c", "import torchaudio"]).returncode:  # not there; or broken, and transformers would fail
        Path(ours, "without.pth").write_text("import sys; sys.modules['torchaudio'] = None\n")
    asked = "import anytok, sys; print(anytok.__file__, *sys.path, sep='\\n')"
    where = day.run([python, "-c", asked]).stdout.splitlines()
    expect(where[0].startswith(ours), f"anytok is imported from {where[0]}")
    ways = [path for path in where if path and path not in present]  # the environment may lie in the checkout
    expect(not [path for path in ways if Path(path).is_relative_to(ROOT)], f"sys.path has {ROOT}: {where}")


@step
def look_around(day: Day) -> None:
    day.anytok("--version", says="anytok 0.")
    day.walked.discard("--version")
    day.anytok("list", says="speech-mini & encodec-32khz & to be fetched")
    day.anytok("info speechtokenizer", says="16000 Hz mono & Apache-2.0")
    done = day.run([day.bin / "anytok", "doctor", "--json"])
    findings = json.loads(done.stdout)
    expect({one["what"] for one in findings} >= {"python", "torch", "kernels", "cache"}, f"doctor: {done}")
    expect(done.returncode == 3 * any(one["ok"] is False for one in findings), f"doctor: {done}")
    day.walked.add("doctor")


@step
def see_the_demo(day: Day) -> None:
    page = Path(day.anytok("demo --out page", says="open the page in a browser").splitlines()[-1])
    expect((day.home / page).stat().st_size > 100_000, f"{page} is no page with pictures and sounds")


@step
def make_media(day: Day) -> None:
    day.python("media")


@step
def encode_and_decode_files(day: Day) -> None:
    day.anytok("encode hello.wav --tokenizer speech-mini --cache cache", says="1 of 1 files encoded")
    again = day.anytok("encode hello.wav --tokenizer speech-mini --cache cache --out -")
    expect(again == (day.home / "codes.jsonl").read_text(), "codes from a cache are others")
    day.anytok("encode cat.png --tokenizer seed-mini --out cat.jsonl")
    day.anytok("decode codes.jsonl --out back", says="back/hello.wav & 1 items decoded")
    day.anytok("decode codes.jsonl --out spoken --voice voice-mini --voice-prompt hello.wav")
    day.anytok("decode cat.jsonl --out back", says="back/cat.png")
    day.python("compare")


@step
def judge_a_tokenizer(day: Day) -> None:
    judged = json.loads(day.anytok("eval hello.wav --tokenizer speech-mini --json"))
    expect(judged["files"] == ["hello.wav"] and judged["failed"] == [], f"eval: {judged}")
    timed = json.loads(day.anytok("bench hello.wav --tokenizer speech-mini --rounds 1 --json"))
    expect(set(timed["engines"]["native"]["encode"]) == {"median", "least", "most"}, f"bench: {timed}")
    day.anytok("fingerprint speech-mini", says="as everywhere")


@step
def begin_with_a_job_file_that_runs_at_once(day: Day) -> None:
    day.anytok("init first.toml", says="next: anytok run first.toml")
    day.anytok("run first.toml first", says="first: finished")
    day.anytok("init second.toml --source pictures")
    day.anytok("plan second.toml --sample 1", says="items      6 (6 image)")


@step
def run_a_job_into_every_output(day: Day) -> None:
    day.write("job.toml", JOB + "".join(f'[[sinks]]\nkind = "{kind}"\n{DOCUMENTS.get(kind, "")}' for kind in SINKS))
    day.anytok("plan job.toml --sample 4", says="items      30 & tokenizer & output     about")
    day.anytok("run job.toml --workers 2", says="tokens: finished & 30 written, 0 failed")
    for kind in SINKS:
        expect(any((day.home / "tokens" / kind).rglob("*0*")), f"nothing was written for {kind}")
    day.anytok("status tokens", says="finished & beside     30 .txt")
    day.anytok("verify tokens --one-in 5", says="all is as it should be")
    day.anytok("stats tokens", says="speech & image & codes in use")
    day.python("outputs")


@step
def go_on_after_a_kill(day: Day) -> None:
    run = "run many {} --tokenizer speech-mini --shard-items 4"
    day.anytok(run.format("undisturbed"))
    process = day.start(run.format("killed"))
    shards = day.home / "killed" / "_anytok" / "shards"
    wait_for(lambda: shards.is_dir() and len(list(shards.iterdir())) >= 2, process, "the commit of two shards")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    day.anytok("status killed", says=" of 20 shards")
    day.anytok("verify killed", code=1, says="shards are not there & run the same job again")
    day.anytok(run.format("killed"), says="killed: finished")
    day.anytok("verify killed", says="all is as it should be")
    same = digest_of(day.home / "killed" / "parquet") == digest_of(day.home / "undisturbed" / "parquet")
    expect(same, "a job that was killed has written other bytes")


@step
def let_the_data_grow(day: Day) -> None:
    source, many = day.home / "growing", day.home / "many"
    shutil.copytree(many / "00", source)
    day.anytok("run growing grown --tokenizer speech-mini --shard-items 5", says="20 written, 0 failed")
    (source / "000.wav").unlink()
    shutil.copy(many / "01" / "001.wav", source / "004.wav")
    shutil.copy(many / "01" / "005.wav", source / "new.wav")
    says = "grown: finished & 20 written, 0 failed & 1 new & 1 changed & 1 removed"
    day.anytok("run growing grown --tokenizer speech-mini --shard-items 5 --extend", says=says)
    day.anytok("verify grown --one-in 3", says="all is as it should be")
    day.anytok("decode grown --key new.wav 004.wav --out came", says="2 items decoded into came")
    day.anytok("decode grown --key 000.wav --out came", code=2, says="000.wav is no longer in the sources")


@step
def compose_sequences(day: Day) -> None:
    day.write("compose.toml", COMPOSE)
    day.anytok("compose compose.toml", says="train: finished")
    day.anytok("verify train --one-in 3", says="all is as it should be")
    day.anytok("stats train", says="sequences & of the positions filled")


@step
def build_a_vocabulary(day: Day) -> None:
    shutil.copy(HERE / "qwen.py", day.home)  # which makes a text tokenizer, and imports no anytok
    day.python("text tokenizer")
    day.anytok("vocab", says="anygpt & seed-llama")
    build = "vocab build mine --text tiny-qwen --special '<eot>' --tokenizer seed-mini --tokenizer speech-mini"
    day.anytok(build, says="saved as mine.json")
    day.anytok(build, says="is there already, byte for byte")
    day.anytok("vocab show mine.json", says="mine & speech-mini")
    day.anytok("run many/00 ids --tokenizer speech-mini --vocabulary mine.json", says="ids: finished")


@step
def train_a_language_model_and_have_it_answer(day: Day) -> None:
    said = day.python("talk")
    expect("1600 samples, as decoded" in said, f"the model was to recite 1600 samples:\n{said}")


@step
def load_data(day: Day) -> None:
    found = json.loads(day.python("loaders").splitlines()[-1])
    expect(found["documents"] == 30 and found["sequences"] == found["stored"] > 0, f"DataLoaders: {found}")


@step
def train_a_tokenizer(day: Day) -> None:
    day.write("own.toml", TRAINING.format(steps=3, out="own"))
    weights = day.anytok("train own.toml").splitlines()[-1]
    day.anytok(f"encode hello.wav --tokenizer speechtokenizer --checkpoint {weights} --out own.jsonl", says="1 of 1 fi")
    day.write("long.toml", TRAINING.format(steps=1_000_000, out="long"))
    process = day.start("train long.toml")
    wait_for(lambda: [*day.home.glob("long/*.pt"), *day.home.glob("long/*.pth")], process, "the first checkpoint")
    process.send_signal(signal.SIGINT)
    try:
        said, _ = process.communicate(timeout=120)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise Surprise("Ctrl-C: training goes on two minutes later") from error
    expect(process.returncode == 130 and "the same command goes on from there" in said, f"Ctrl-C: {said}")


@step
def export_a_tokenizer(day: Day) -> None:
    if find_spec("onnxruntime"):
        day.anytok("export speech-mini onnx", says="codes equal & encoder.onnx")
    else:
        day.anytok("export speech-mini onnx", code=3, says="pip install 'anytok[export]'")


@step
def make_mistakes(day: Day) -> None:
    day.write("notes.txt", "words\n")
    for line, code, says in MISTAKES:
        day.anytok(line, code=code, says=says)


@step
def have_seen_every_command(day: Day) -> None:
    known = re.findall(r"^    (\w+)", day.anytok("--help").partition("commands:")[2].partition("exit codes")[0], re.M)
    left = set(known) - day.walked - LATER
    expect(known and not left, f"commands without a step: {', '.join(sorted(left))}")


MISTAKES = [
    ("encod hello.wav", 2, "invalid choice: 'encod'"),
    ("info speechtokenizr", 2, "did you mean 'speechtokenizer'"),
    ("encode absent.wav --tokenizer speech-mini --out x.jsonl", 1, "absent.wav: there is no such file"),
    ("encode notes.txt --tokenizer speech-mini --out x.jsonl", 1, "notes.txt: not a sound of a known format"),
    ("encode hello.wav --tokenizer speech-mini", 2, "codes.jsonl: exists already & --force"),
    ("encode hello.wav --tokenizer speech-mini --dtype int8 --out x.jsonl", 2, "no dtype 'int8'"),
    ("fetch speechtokenizer", 3, "the hub cannot be reached & by hand"),
    ("run nowhere out --tokenizer speech-mini", 2, "'nowhere': there is no such file or folder"),
    ("run many notes.txt --tokenizer speech-mini", 2, "notes.txt is no folder"),
    ("run many tokens --tokenizer speech-mini", 4, "tokens holds another job"),
    ("run many out --tokenizer speech-mini --workers none", 2, "invalid int value: 'none'"),
    ("status nowhere", 2, "nowhere: there is no such folder"),
    ("verify many", 2, "many holds no job"),
    ("decode notes.txt", 1, "notes.txt, line 1"),
    ("vocab build mine --text nowhere", 2, "no text tokenizer at nowhere"),
]

JOB = """\
output = "tokens"
vocabulary = "mini"
shard_items = 8

[[sources]]
name = "voices"
path = "voices"
modality = "speech"
text_suffix = ".txt"

[[sources]]
name = "pictures"
path = "pictures"
text_suffix = ".txt"

[tokenizers.speech]
name = "speech-mini"

[tokenizers.image]
name = "seed-mini"

"""
DOCUMENTS = {
    "hf": 'documents = { kind = "conversation", template = "mini", order = "text-first", loss = "answers" }\n',
    "megatron": 'documents = { kind = "caption", order = "text-first", bos = "<s>", eos = "</s>" }\n',
}

COMPOSE = """\
output = "train"
vocabulary = "mini"

[[sources]]
kind = "codes"
path = "tokens"

[compose]
length = 1024

[compose.documents]
kind = "caption"
order = "text-first"
bos = "<s>"
eos = "</s>"

[[sinks]]
kind = "hf"
"""

TRAINING = """\
name = "own"
kind = "speech"
data = "voices"
out = "{out}"
[run]
steps = {steps}
batch_size = 2
""" + MODEL

PROGRAMS = {
    "media": """
from pathlib import Path
import anytok, numpy as np
from PIL import Image

def tone(seconds, number):
    time = np.arange(round(16000 * seconds)) / 16000
    return anytok.Audio((0.4 * np.sin((900 + 130 * number) * time) * np.cos(40 * time)).astype(np.float32), 16000)

def save(medium, path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    medium.save(path)
    if text:
        path.with_suffix(".txt").write_text(text)

draw = np.random.default_rng(0)
for number in range(24):
    save(tone(0.3 + 0.05 * (number % 7), number), Path("voices", "ab"[number % 2], f"{number}.wav"), f"voice {number}")
for number in range(80):
    save(tone(1.5, number), Path("many", f"{number % 4:02d}", f"{number:03d}.wav"), "")
for number in range(6):
    levels = draw.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    save(Image.fromarray(levels).resize((160, 120)), Path("pictures", f"{number}.png"), f"picture {number}")
tone(1.0, 3).save("hello.wav"); tone(0.1, 5).save("short.wav")
Image.fromarray(draw.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((200, 150)).save("cat.png")
""",
    "compare": """
import json, anytok, numpy as np
from PIL import Image

line = json.loads(open("codes.jsonl").read())
tokenizer = anytok.load_tokenizer("speech-mini")
codes = tokenizer.encode("hello.wav")
assert line.pop("source") == "hello.wav" and anytok.Codes.from_dict(line) == codes
sound = anytok.media.audio.load_audio("back/hello.wav")
assert sound.sample_rate == 16000 and sound.wave.shape == (1, 16000)
assert np.abs(sound.wave - tokenizer.decode(codes).wave).max() < 1e-4
assert Image.open("back/cat.png").size[0] > 0
""",
    "outputs": """
import json
from pathlib import Path
import anytok, pyarrow.parquet as pq

vocabulary = anytok.load_vocabulary("mini")
def rows(folder):
    tables = [pq.read_table(path).to_pylist() for path in Path("tokens", folder).glob("*.parquet")]
    return {row["key"]: row for table in tables for row in table}

plain, talks = rows("parquet"), rows("hf/data")
assert len(plain) == len(talks) == 30
tokenizer = anytok.load_tokenizer("speech-mini")
for key in ("voices/a/0.wav", "voices/b/7.wav"):
    codes = tokenizer.encode(key)
    assert plain[key]["codes"] == codes.values.tolist() and plain[key]["ids"] == vocabulary.to_ids(codes).tolist()
    [asked, answer, _] = vocabulary.from_ids(talks[key]["input_ids"], "strict")
    assert plain[key]["text"] in asked and answer.values.tolist() == plain[key]["codes"], asked
lines = [json.loads(line) for path in Path("tokens/anygpt").glob("*.jsonl") for line in path.open()]
assert {line["key"] for line in lines} == set(plain)
""",
    "text tokenizer": """
from qwen import qwen_tokenizer
qwen_tokenizer().save_pretrained("tiny-qwen")
""",
    "talk": """
import anytok, torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from anytok.generation import MediaStreamer, Processor, resize_embeddings

torch.manual_seed(0)
qwen = AutoTokenizer.from_pretrained("tiny-qwen")
processor = Processor(anytok.load_multimodal("mine.json", text_tokenizer=qwen))
sizes = {"hidden_size": 256, "num_hidden_layers": 1, "intermediate_size": 256}
model = LlamaForCausalLM(LlamaConfig(vocab_size=len(qwen), **sizes))
resize_embeddings(model, processor.any2any.vocabulary)
asked = [{"type": "image", "path": "cat.png"}, {"type": "audio", "path": "short.wav"}, {"type": "text", "text": "Who?"}]
talk = [{"role": "user", "content": asked}, {"role": "assistant", "content": [{"type": "audio", "path": "short.wav"}]}]
rows = [processor.apply_chat_template(talk, learn=True)]
settings = TrainingArguments("model", max_steps=100, learning_rate=3e-3, report_to=[], use_cpu=True, save_strategy="no")
Trainer(model, settings, processor.collate, rows).train()
prompt = processor.apply_chat_template(talk[:1], return_tensors="pt")
streamer = MediaStreamer(processor, skip_special_tokens=True)
ends = {"max_new_tokens": 90, "eos_token_id": processor.eos_token_id}
ids = model.generate(**prompt, **ends, do_sample=False, streamer=streamer)
streamed = sum(piece.num_samples for piece in streamer if isinstance(piece, anytok.Audio))
[answer] = processor.batch_decode(ids[:, prompt["input_ids"].shape[1] :])
decoded = sum(piece.num_samples for piece in answer if isinstance(piece, anytok.Audio))
print(streamed, "samples, as decoded" if streamed == decoded else f"samples, but decoded {decoded}")
""",
    "loaders": """
import json
import anytok
from torch.utils.data import DataLoader
from anytok.compose import Form
from anytok.data import CodesDataset, Collator, EpochDataset, SequenceDataset

codes = CodesDataset("tokens", anytok.load_vocabulary("mini"), Form("caption", order="text-first"))
loader = DataLoader(EpochDataset(codes, seed=1), batch_size=4, num_workers=2, collate_fn=Collator())
documents = sum(len(batch["input_ids"]) for batch in loader)
stored = SequenceDataset("train")
sequences = sum(len(batch["input_ids"]) for batch in DataLoader(stored, batch_size=2, collate_fn=Collator()))
print(json.dumps({"documents": documents, "sequences": sequences, "stored": len(stored)}))
""",
}


def walk(steps: Sequence[Step], day: Day) -> int:
    """The steps in order, a line for each; 1 at the first that is not as expected."""
    began = time.monotonic()
    for one in steps:
        start, name = time.monotonic(), one.__name__.replace("_", " ")
        try:
            one(day)
        except Surprise as surprise:
            print(f"!!  {time.monotonic() - start:6.1f} s  {name}\n{surprise}", flush=True)
            return 1
        print(f"ok  {time.monotonic() - start:6.1f} s  {name}", flush=True)
    print(f"the day took {time.monotonic() - began:.0f} s")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", nargs="?", type=Path, help="an anytok wheel (default: one of this checkout)")
    parser.add_argument("--folder", type=Path, help="where to live, and what to leave behind (default: nothing)")
    args = parser.parse_args(arguments)
    if args.folder:
        return walk(STEPS, Day(args.folder.absolute(), args.wheel and args.wheel.absolute()))
    with tempfile.TemporaryDirectory(prefix="anytok-day-") as folder:
        return walk(STEPS, Day(Path(folder), args.wheel and args.wheel.absolute()))


if __name__ == "__main__":
    sys.exit(main())
