"""What people type by mistake: for each the words of the message, the exit code, no traceback, and no waiting."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from job_corpus import FAKES, speech_folder, speech_job, write_png, write_tar, write_wav
from tiny_codec import MODEL

import anytok
from anytok.checkpoints import hub
from anytok.cli import main
from anytok.jobs import run_job

SECONDS, WAITING = 3.0, 30.0  # of this process's own work; with all that it waits for, on whatever machine
GOLDEN = Path(__file__).parent / "golden"
MINI = "--tokenizer speech-mini"
FAKE = "--tokenizer fake-speech"

# Command, exit code, and what the message says (each part, in any order). Files are those that `made` makes.
MISTAKES: list[tuple[str, int, str]] = [
    # the command itself
    ("", 2, "required: COMMAND"),
    ("encod hello.wav", 2, "invalid choice: 'encod'"),
    ("--verson", 2, "required: COMMAND"),
    ("list everything", 2, "unrecognized arguments: everything"),
    ("info", 2, "required: NAME"),
    ("info speechtokenizr", 2, "called 'speechtokenizr' & speechtokenizer"),
    ("info ''", 2, "called ''"),
    ("info soundstorn", 2, "called 'soundstorn' & soundstorm"),
    # fetch, without a network
    ("fetch", 2, "required: NAME"),
    ("fetch no-such", 2, "no published weights are known for 'no-such' & encodec-24khz"),
    ("fetch fake-speech", 2, "no published weights are known for 'fake-speech'"),
    ("fetch speechtokenizer", 3, "config.json & could not be fetched & the hub cannot be reached & by hand"),
    ("fetch encodec-32khz --to here", 3, "the hub cannot be reached & here/config.json"),
    ("fetch seed-2 --to notes.txt", 2, "notes.txt & no folder"),
    ("fetch encodec-24khz --to notes.txt/in", 2, "notes.txt & no folder"),
    ("fetch encodec-24khz --to /sys/weights", 3, "cannot write to /sys/weights"),
    ("encode hello.wav --tokenizer speechtokenizer", 3, "the hub cannot be reached & pass checkpoint="),
    ("vocab build mine --text some/tokenizer", 2, "no text tokenizer at some/tokenizer & the hub cannot be reached"),
    ("vocab build mine --text nowhere", 2, "no text tokenizer at nowhere"),
    ("vocab build mine --text ./nowhere/", 2, "no text tokenizer at ./nowhere/"),
    ("vocab build mine --text rec", 2, "no text tokenizer at rec & expected a folder with tokenizer.json"),
    ("decode given.jsonl --voice-prompt hello.wav --voice soundstorm", 2, "a voice for codes of speech-mini"),
    # encode: files
    ("encode", 2, "required: FILE"),
    ("encode hello.wav", 2, "required: --tokenizer"),
    (f"encode absent.wav {MINI}", 1, "absent.wav: there is no such file [missing] & 0 of 1 files"),
    (f"encode rec {MINI}", 1, "rec: this is a folder: pass the files in it"),
    (f"encode empty.wav {MINI}", 1, "empty.wav: 0 bytes: there is nothing in it"),
    (f"encode broken.wav {MINI}", 1, "broken.wav & not a sound of a known format"),
    (f"encode cut.wav {MINI}", 1, "cut.wav & truncated"),
    (f"encode cat.png {MINI}", 1, "cat.png: a picture (PNG), where a sound is wanted"),
    (f"encode notes.txt {MINI}", 1, "notes.txt: not a sound of a known format & convert it to WAV or FLAC"),
    (f"encode '*.wv' {MINI}", 1, "*.wv: there is no such file"),
    (f"encode pipe {MINI}", 1, "pipe: this is a pipe or a device"),
    (f"encode http://127.0.0.1:9/a.wav {MINI}", 1, "http://127.0.0.1:9/a.wav: there is no such file"),
    ("encode hello.wav --tokenizer seed-mini", 1, "hello.wav: a sound (WAV), where a picture is wanted"),
    ("encode cut.png --tokenizer seed-mini", 1, "cut.png & cannot be decoded & [truncated]"),
    (f"encode hello.wav absent.wav {MINI} --out some.jsonl --force", 1, "absent.wav & 1 of 2 files encoded"),
    # encode: options
    ("encode hello.wav --tokenizer no-such", 2, "no tokenizer is called 'no-such'"),
    ("encode hello.wav --tokenizer Speech-Mini", 2, "called 'Speech-Mini' & did you mean 'speech-mini'"),
    (f"encode hello.wav {MINI} --engine magic", 2, "no engine 'magic'; it has native, reference"),
    (f"encode hello.wav {MINI} --device cuda:77", 2, "torch sees"),
    (f"encode hello.wav {MINI} --device gpu", 2, "device 'gpu' is none that torch knows & cuda"),
    (f"encode hello.wav {MINI} --dtype int8", 2, "no dtype 'int8'; expected one of float32 & bfloat16"),
    (f"encode hello.wav {MINI} --dtype float16", 2, "float16"),
    (f"encode hello.wav {MINI} --checkpoint nowhere", 4, "'nowhere': no such file or folder"),
    (f"encode hello.wav {MINI} --checkpoint rec", 4, "rec: holds neither config.json & expected the published files"),
    (f"encode hello.wav {MINI} --checkpoint notes.txt", 4, "holds neither config.json & expected the published files"),
    (f"encode hello.wav {MINI} --option num_codebooks", 2, "option 'num_codebooks': expected KEY=VALUE"),
    (f"encode hello.wav {MINI} --option num_codebook=1", 2, "no option 'num_codebook' & num_codebooks"),
    (f"encode hello.wav {MINI} --option num_codebooks=99", 2, "num_codebooks=99: expected a whole number, 1 to"),
    (f"encode hello.wav {MINI} --option num_codebooks=two", 2, "num_codebooks='two': expected a whole number"),
    (f"encode hello.wav {MINI} --option device=cpu", 2, "option 'device'"),
    (f"encode hello.wav {MINI} --option resampler=fast", 2, "resampler 'fast': expected"),
    (f"encode hello.wav {MINI} --option channels=left", 2, "channels 'left': expected 'first'"),
    (f"encode hello.wav {MINI} --option batch_size=4", 2, "batch_size is for GPUs"),
    (f"encode hello.wav {MINI} --option compile=yes", 2, "compile is for GPUs"),
    (f"encode hello.wav {MINI} --progress loud", 2, "--progress: invalid choice: 'loud'"),
    ("encode cat.png --tokenizer seed-mini --option interpolation=cubic", 2, "'cubic'; expected 'bicubic'"),
    # encode: where to
    (f"encode hello.wav {MINI} --out given.jsonl", 2, "given.jsonl: exists already; choose another --out, or --force"),
    (f"encode hello.wav {MINI} --out rec", 2, "rec: no regular file"),
    (f"encode hello.wav {MINI} --out no/such.jsonl", 2, "no: no such folder; make it"),
    (f"encode hello.wav {MINI} --out notes.txt/c.jsonl", 2, "notes.txt: no such folder"),
    (f"encode hello.wav {MINI} --out /sys/codes.jsonl", 3, "cannot write /sys/codes.jsonl & choose another --out"),
    # decode
    ("decode", 2, "required: CODES.JSONL"),
    ("decode absent.jsonl", 2, "absent.jsonl & no such file"),
    ("decode hello.wav", 1, "hello.wav"),
    ("decode notes.txt", 1, "notes.txt, line 1"),
    ("decode none.jsonl", 1, "none.jsonl: holds no codes"),
    ("decode list.jsonl", 1, "list.jsonl, line 1"),
    ("decode foreign.jsonl --out foreign", 1, "these codes were made by speech-mini@000000000000"),
    ("decode unknown.jsonl --out unknown", 2, "no tokenizer is called 'no-such'"),
    ("decode given.jsonl --out notes.txt", 2, "notes.txt is no folder"),
    ("decode given.jsonl --out there", 2, "exists already; choose another --out, or --force"),
    ("decode given.jsonl --decode-option seeds=1 --out d1", 2, "speech-mini has no decode options; got seeds"),
    ("decode given.jsonl --decode-option seeds --out d2", 2, "option 'seeds': expected KEY=VALUE"),
    ("decode given.jsonl --voice nobody --out d3", 2, "no voice is called 'nobody'; known"),
    ("decode given.jsonl --voice voice-mini --voice-prompt absent.wav --out d4", 1, "absent.wav: there is no such"),
    ("decode given.jsonl --checkpoint nowhere --out d5", 4, "'nowhere': no such file or folder"),
    ("decode given.jsonl --key hallo.wav", 2, "no line has the source 'hallo.wav'; did you mean 'hello.wav'"),
    ("decode given.jsonl --key", 2, "--key: expected at least one argument"),
    ("decode rec", 2, "rec holds no job & expected the output folder of a job"),
    ("decode done/parquet", 2, "done/parquet holds no job"),
    ("decode unplanned", 4, "unplanned: this job has no plan yet"),
    ("decode done --key 1/0021.waf", 2, "done: no item has the key '1/0021.waf'; did you mean '1/0021.wav'"),
    ("decode half --key nothing", 2, "half: no item has the key 'nothing', or it is not done yet"),
    ("decode done --out notes.txt", 2, "notes.txt is no folder"),
    ("decode beyond.jsonl --out d6", 1, "beyond.jsonl, line 1 & 9999 & 0 to 511"),
    ("decode given.jsonl --out /sys/back", 3, "cannot write to /sys/back & choose another folder"),
    # run and plan: what is read
    ("run", 2, "required: JOB.toml|SOURCE"),
    ("run rec", 2, "expected a job file (*.toml), or SOURCE OUT --tokenizer NAME"),
    ("run rec out", 2, "expected a job file (*.toml), or SOURCE OUT --tokenizer NAME"),
    (f"run rec {FAKE}", 2, "expected a job file"),
    (f"run nowhere out {FAKE}", 2, "source 'nowhere': there is no such file or folder"),
    (f"run nowhere/*.wav out {FAKE}", 2, "source 'nowhere/*.wav': no file matches"),
    (f"run file:///nowhere out {FAKE}", 2, "source 'file:///nowhere': there is no such file or folder"),
    (f"run absent.csv out {FAKE}", 2, "source 'absent.csv': there is no such file"),
    (f"run absent.tar out {FAKE}", 2, "source 'absent.tar': there is no such file"),
    (f"run absent.parquet out {FAKE}", 2, "source 'absent.parquet': there is no such file"),
    (f"run mozilla-foundation/common_voice out {FAKE}", 2, "no such file or folder & load_dataset & save_to_disk"),
    (f"run empty out {FAKE}", 2, "empty hold no media for speech"),
    (f"run pics out {FAKE}", 2, "pics hold no media for speech & 1 .png"),
    (f"run hello.wav out {FAKE}", 2, "'hello.wav' is no folder: for single files there is `anytok encode`"),
    (f"run notes.txt out {FAKE}", 2, "'notes.txt' is no folder: give a folder, a pattern, a table"),
    (f"run rec.tar.gz out {FAKE}", 2, "'rec.tar.gz' is no folder: .gz files are not read as they are"),
    (f"run rec rec {FAKE}", 2, "is also a source"),
    (f"run cut.tar out {FAKE}", 4, "cut.tar is no readable tar & it must be whole"),
    (f"run zipped.tar out {FAKE}", 4, "zipped.tar is no readable tar & not compressed"),
    (f"run cut.parquet out {FAKE}", 4, "cut.parquet is no readable parquet file & is it cut"),
    (f"run text.parquet out {FAKE}", 4, "which column holds the media?"),
    (f"run nopath.csv out {FAKE}", 4, "row 1: no 'path' & there are 'file', 'words'"),
    (f"run semicolons.csv out {FAKE}", 4, "row 1: no 'path' & put commas between fields"),
    (f"run utf16.csv out {FAKE}", 4, "utf16.csv is written in UTF-16: save it as UTF-8"),
    (f"run utf16le.csv out {FAKE}", 4, "utf16le.csv is no text, or written in UTF-16 or UTF-32"),
    (f"run quotes.csv out {FAKE}", 4, "quotes.csv, line 3 & is the file cut?"),
    (f"run fewer.csv out {FAKE}", 4, "fewer.csv, row 2: fewer fields than the header has"),
    (f"run cut.jsonl out {FAKE}", 4, "cut.jsonl, line 2 & is the file cut?"),
    (f"run lines.jsonl out {FAKE}", 4, "lines.jsonl, line 1: expected an object, got list"),
    (f"run latin1.csv latin {FAKE}", 4, "1 of 1 items failed & 1 bad_cell & --max-failure-rate"),
    (f"run double.csv out {FAKE}", 4, "keys name more than one item, such as a"),
    (f"run broken broken-out {FAKE}", 4, "2 of 2 items failed & 2 unsupported_format & broken-out/failures.jsonl"),
    # run: URLs
    (f"run nosuch://x/*.wav out {FAKE}", 2, "'nosuch://x/*.wav' cannot be opened: Protocol not known: nosuch"),
    (f"run memory://x/*.wav out {FAKE}", 2, "one process's own"),
    (f"run s3://bucket/*.wav out {FAKE}", 3, "needs the package 's3fs': pip install s3fs"),
    (f"run gs://bucket/x.tar out {FAKE}", 3, "needs the package 'gcsfs': pip install gcsfs"),
    (f"run abfs://bucket/x.parquet out {FAKE}", 3, "needs the package 'adlfs': pip install adlfs"),
    (f"run sftp://host/x/*.wav out {FAKE}", 3, "needs the package 'paramiko': pip install paramiko"),
    (f"run http://127.0.0.1:9/*.wav out {FAKE}", 3, "cannot be reached & check the address"),
    (f"run http://127.0.0.1:9/x.tar out {FAKE}", 3, "cannot be reached & check the address"),
    (f"run http://127.0.0.1:9/x.parquet out {FAKE}", 3, "cannot be reached"),
    (f"run http://127.0.0.1:9/x.csv out {FAKE}", 3, "cannot be reached"),
    (f"run hf://datasets/some/name/*.parquet out {FAKE}", 3, "cannot be reached & check the address"),
    # run: where to
    (f"run rec notes.txt {FAKE}", 2, "notes.txt is no folder"),
    (f"run rec notes.txt/out {FAKE}", 2, "notes.txt/out: & notes.txt is no folder"),
    (f"run rec /sys/out {FAKE}", 3, "cannot write to /sys/out & give it leave to write"),
    (f"run rec done {FAKE} --shard-items 7", 4, "done holds another job: work.shard_items was 10, is now 7"),
    (f"run pics done {FAKE}", 4, "done holds another job & was 'rec', is now 'pics'"),
    # run: options
    (f"run rec out {FAKE} --workers 0", 2, "workers=0: expected a whole number"),
    (f"run rec out {FAKE} --workers two", 2, "--workers: invalid int value: 'two'"),
    (f"run rec out {FAKE} --readers -1", 2, "readers=-1: expected a whole number"),
    (f"run rec out {FAKE} --max-failure-rate 20", 2, "max_failure_rate=20.0: expected a number, 0 to 1"),
    (f"run rec out {FAKE} --shard 8/8", 2, "shard='8/8': expected i/n"),
    (f"run rec out {FAKE} --shard one", 2, "shard='one': expected i/n"),
    (f"run rec out {FAKE} --cache notes.txt", 3, "notes.txt"),
    (f"run rec out {FAKE} --runner slurm", 2, "--runner: invalid choice: 'slurm'"),
    (f"run rec out {FAKE} --vocabulary nothing", 2, "nothing"),
    (f"run rec out {FAKE} --vocabulary nothing.json", 2, "nothing.json"),
    (f"run rec out {FAKE} --progress loud", 2, "--progress: invalid choice: 'loud'"),
    (f"run half half2 {FAKE} --retry-failed", 2, "half hold no media"),
    (f"run rec done {FAKE} --shard-items 10 --extend --retry-failed", 2, "extend together with retry_failed"),
    (f"run rec done {FAKE} --shard-items 11 --extend", 4, "done holds another job: work.shard_items was 10, is now 11"),
    (f"run nowhere done {FAKE} --extend", 2, "source 'nowhere': there is no such file or folder"),
    (f"run empty fresh {FAKE} --extend", 2, "empty hold no media for speech"),
    ("compose good.toml out --extend", 2, "unrecognized arguments: --extend"),
    ("run rec out --tokenizer speech", 2, "no tokenizer is called 'speech'"),
    (f"run rec out {FAKE} --sink parqet", 2, "kind='parqet': expected 'parquet', 'hf' & did you mean 'parquet'"),
    (f"run rec out {FAKE} --sink hf --sink hf", 2, "each kind once"),
    (f"run rec out {FAKE} --sink megatron", 2, "sink 'megatron' writes ids: add vocabulary"),
    (f"run rec out {FAKE} --option books", 2, "option 'books': expected KEY=VALUE"),
    (f"run rec out {FAKE} --option device=cuda", 2, "option 'device': none of a tokenizer's own"),
    (f"run rec out {MINI} --option num_codebook=1", 2, "no option 'num_codebook' & did you mean 'num_codebooks'"),
    (f"run rec out {MINI} --num-codebooks 9", 2, "num_codebooks=9: expected a whole number, 1 to 8"),
    (f"run rec out {MINI} --num-codebooks one", 2, "--num-codebooks: invalid int value: 'one'"),
    (f"run rec out {MINI} --device gpu", 2, "device 'gpu' is none that torch knows"),
    (f"run rec out {MINI} --dtype int8", 2, "no dtype 'int8'"),
    # job files
    ("run absent.toml", 2, "absent.toml: No such file or directory; expected a job file"),
    ("run bad.toml", 2, "bad.toml is not a TOML file"),
    ("run key.toml", 2, "unknown key 'outputs'; did you mean 'output'"),
    ("run good.toml", 2, "good.toml: missing 'sources'"),
    ("run two.toml", 2, "two.toml: run.workers=0: expected a whole number & run: unknown key 'reader'; did you mean"),
    (f"run good.toml {FAKE}", 2, "--tokenizer is for SOURCE OUT, and good.toml says it itself"),
    ("run good.toml --sink hf", 2, "--sink is for SOURCE OUT"),
    ("run good.toml --num-codebooks 1", 2, "--num-codebooks is for SOURCE OUT"),
    ("run stored.toml --device cpu", 2, "device: [compose] loads no model"),
    # init
    ("init good.toml", 2, "good.toml: exists already; choose another name"),
    ("init no/such.toml", 2, "no: no such folder; make it first"),
    ("init notes.txt/job.toml", 2, "notes.txt: no such folder"),
    ("init job.json", 2, "'job.json': expected a name that ends in .toml"),
    ("init 'a\nb.toml'", 2, "'a\\nb.toml': expected a name that ends in .toml"),
    ("init /sys/job.toml", 3, "cannot write /sys/job.toml & choose another place"),
    ("init new.toml --from speach_tar", 2, "no example is called 'speach_tar' & start & did you mean 'speech_tar'"),
    ("init new.toml --source nowhere", 2, "source 'nowhere': there is no such file or folder"),
    ("init new.toml --source rec --from anygpt_mixed", 2, "this one has 3: edit the file instead"),
    ("init new.toml --source tokens/first", 2, "source 'tokens/first': there is no such file or folder"),
    ("run textless.toml", 2, "source 'rec' has no texts & a sink has documents with them & text_suffix = "),
    ("run untold.toml", 2, "source 'paths.csv': none of its items has a text & columns = { text ="),
    ("run wordless.toml", 2, "documents of kind 'caption' hold words: add text_tokenizer"),
    # compose
    ("compose", 2, "required: JOB.toml"),
    ("compose absent.toml", 2, "absent.toml: No such file or directory; expected a job file"),
    ("compose wordless.toml", 2, "wordless.toml has no table [compose] & `anytok run`"),
    # status, verify, stats
    ("status", 2, "required: OUT"),
    ("status nowhere", 2, "nowhere: there is no such folder; expected the output folder of a job"),
    ("status notes.txt", 2, "notes.txt: is a file; expected the output folder"),
    ("status rec", 2, "rec holds no job & expected the output folder of a job"),
    ("status half", 0, "half: 1 of 3 shards & items      30: 10 written"),
    ("status unplanned", 4, "unplanned: this job has no plan yet & run the same command again"),
    ("verify nowhere", 2, "nowhere: there is no such folder"),
    ("verify rec", 2, "rec holds no job"),
    ("verify half", 1, "2 of 3 shards are not there & run the same job again & goes on with the 2 shards"),
    ("verify done --one-in -1", 2, "one_in=-1: expected a whole number, at least 0"),
    ("verify done --one-in x", 2, "--one-in: invalid int value: 'x'"),
    ("stats nowhere", 2, "nowhere: there is no such folder"),
    ("stats done/parquet", 2, "done/parquet holds no job"),
    (f"plan nowhere {FAKE}", 2, "source 'nowhere': there is no such file or folder"),
    (f"plan rec {FAKE} --sample 0", 2, "sample=0: expected a whole number, at least 1"),
    # eval, bench, demo, doctor
    (f"eval absent.wav {MINI}", 1, "absent.wav: there is no such file & 0 of 1 files measured"),
    ("eval hello.wav", 2, "required: --tokenizer"),
    (f"bench hello.wav {MINI} --rounds 0", 2, "--rounds=0: expected a whole number, at least 1"),
    (f"bench hello.wav {MINI} --against other", 2, "no engine 'other'"),
    (f"bench absent.wav {MINI}", 1, "absent.wav: there is no such file & 0 of 1 files timed"),
    ("demo --out notes.txt", 2, "notes.txt"),
    ("demo --out /sys/page", 3, "cannot write to /sys/page & choose another folder"),
    ("export speech-mini notes.txt", 2, "notes.txt is no folder"),
    ("export speech-mini /sys/onnx", 3, "cannot write to /sys/onnx & choose another folder"),
    ("export speech-mini pics", 2, "pics: holds files already"),
    ("export no-such onnx", 2, "no tokenizer is called 'no-such'"),
    ("fingerprint no-such", 2, "no tokenizer is called 'no-such'"),
    ("fingerprint --checkpoint rec", 2, "--checkpoint holds the files of one tokenizer"),
    ("doctor now", 2, "unrecognized arguments: now"),
    # train
    ("train", 2, "required: CONFIG.toml"),
    ("train absent.toml", 2, "absent.toml: No such file or directory; expected a training config"),
    ("train bad.toml", 2, "bad.toml"),
    ("train good.toml", 2, "good.toml: kind is None; expected one of speech, music"),
    ("train own.toml", 3, "cannot write to /sys/own & choose another folder"),
    # vocabularies
    ("vocab no-such", 2, "no-such & anygpt"),
    ("vocab show absent.json", 2, "absent.json"),
    ("vocab show notes.txt", 1, "notes.txt"),
    ("vocab show anygpt --save anygpt.json", 2, "anygpt.json: exists already; choose another name"),
    ("vocab show mini --save no/such.json", 2, "no folder no; make it first"),
    ("vocab build mine", 2, "required: --text"),
    ("vocab build mine --text 100 --special '<a>' --out /sys/mine.json", 3, "cannot write to /sys"),
    ("vocab build '' --text 100", 2, "a vocabulary without a name"),
    ("vocab build mine --text 100 --reserved -1", 2, "--reserved -1: expected 0 or more"),
    ("vocab build mine --text 100 --tokenizer no-such", 2, "no tokenizer is called 'no-such'"),
    ("vocab build mine --text 100 --tokenizer seed-2 color=red", 2, "no setting is called 'color'; known"),
    ("vocab build mine --text 100 --tokenizer seed-2 num_codebooks=x", 2, "num_codebooks=x: expected a number"),
    ("vocab build mine --text 100 --tokenizer seed-2 --tokenizer seed-2", 2, "seed-2"),
    ("vocab build mine --text 0", 2, "a vocabulary needs at least one id"),
    ("vocab build anygpt --text 100 --out anygpt.json", 2, "exists already and is not this vocabulary"),
]  # fmt: skip

# … of which so many run as people run them, each in a process of its own.
IN_PROCESSES = [mistake for mistake in MISTAKES if "pip install" not in mistake[2]][::24]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the mistakes are about: media, tables, archives, jobs."""
    folder = tmp_path_factory.mktemp("mistakes")
    write_wav(folder / "hello.wav", 12000)
    write_png(folder / "cat.png")
    for name in ("hello.wav", "cat.png"):
        data = (folder / name).read_bytes()
        (folder / name.replace("hello", "cut").replace("cat", "cut")).write_bytes(data[: len(data) // 2])
    texts = {"notes.txt": "words, not media\n" * 3, "empty.wav": "", "broken.wav": "RIFF but no more", "none.jsonl": ""}
    texts |= {"list.jsonl": "[1, 2]\n", "lines.jsonl": '["a.wav"]\n', "bad.toml": "output = \n"}
    texts |= {
        "good.toml": 'output = "o"\n',
        "key.toml": 'outputs = "out"\n',
        "two.toml": 'output = "o"\nsources = [{ path = "rec" }]\n[run]\nworkers = 0\nreader = 1\n',
        "stored.toml": 'output = "o"\nvocabulary = "mini"\nsources = [{ path = "x", kind = "codes" }]\n[compose]\n',
        "nopath.csv": "file,words\nhello.wav,hi\n",
    }
    texts |= {"semicolons.csv": "path;text\nhello.wav;hi\n", "quotes.csv": 'path,text\nhello.wav,hi\nhello.wav,"hi\n'}
    texts |= {"fewer.csv": "path,text\nhello.wav,hi\nhello.wav\n", "double.csv": "path,key\nhello.wav,a\nhello.wav,a\n"}
    texts |= {"cut.jsonl": '{"path": "hello.wav"}\n{"path": "hel', "paths.csv": "path\nhello.wav\n"}
    job = 'output = "docs"\nvocabulary = "{}"\n[[sources]]\npath = "{}"\n[tokenizers.speech]\nname = "speech-mini"\n'
    job += '[[sinks]]\nkind = "hf"\ndocuments = {{ kind = "caption" }}\n'
    texts |= {"textless.toml": job.format("mini", "rec"), "untold.toml": job.format("mini", "paths.csv")}
    texts |= {"wordless.toml": job.format("anygpt", "paths.csv")}
    texts |= {"own.toml": 'name = "own"\nkind = "speech"\ndata = "rec"\nout = "/sys/own"\n[run]\nsteps = 1\n'}
    texts["own.toml"] += MODEL
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    table = "path,text\nhello.wav,Größe\n"
    for name, encoding in (("utf16", "utf-16"), ("utf16le", "utf-16-le"), ("latin1", "latin-1")):
        (folder / f"{name}.csv").write_bytes(table.encode(encoding))
    os.mkfifo(folder / "pipe")
    for name in ("empty", "unplanned/_anytok", "there"):
        (folder / name).mkdir(parents=True)
    write_png(folder / "pics" / "a.png")
    for name in ("a", "b"):
        (folder / "broken").mkdir(exist_ok=True)
        (folder / "broken" / f"{name}.wav").write_text("no sound")
    _write_archives(folder)
    _write_codes(folder)
    speech_folder(folder / "rec", 30)
    with contextlib.chdir(folder):
        run_job(speech_job(Path("rec"), Path("done")).override(shard_items=10))
        run_job(speech_job(Path("rec"), Path("half")).override(shard_items=10), shard="0/3")
        anytok.load_vocabulary("anygpt").save("anygpt.json")
    return folder


def _write_archives(folder: Path) -> None:
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    data = (folder / "hello.wav").read_bytes()
    write_tar(folder / "whole.tar", {"a.wav": data, "b.wav": data})
    whole = (folder / "whole.tar").read_bytes()
    (folder / "cut.tar").write_bytes(whole[:700])
    (folder / "zipped.tar").write_bytes(gzip.compress(whole))
    (folder / "rec.tar.gz").write_bytes(gzip.compress(whole))
    pq.write_table(pa.table({"words": ["a", "b"]}), folder / "text.parquet")
    (folder / "cut.parquet").write_bytes((folder / "text.parquet").read_bytes()[:-20])


def _write_codes(folder: Path) -> None:
    spec = anytok.Spec("speech-mini", "speech", 8, 512)
    good = anytok.Codes(np.array([[1, 2]]), spec).to_dict()
    foreign = {**good, "spec": {**good["spec"], "id": "speech-mini@000000000000"}}
    unknown = {**good, "spec": {**good["spec"], "name": "no-such", "id": "no-such"}}
    beyond = {**good, "codes": [[1, 9999]]}
    for name, record in (("given", good), ("foreign", foreign), ("unknown", unknown), ("beyond", beyond)):
        (folder / f"{name}.jsonl").write_text(json.dumps({"source": "hello.wav", **record}) + "\n")
    shutil.copy(folder / "hello.wav", folder / "there" / "hello.wav")


@pytest.fixture
def offline(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stands in that folder, with a hub that refuses connections and a cache that is empty."""
    monkeypatch.chdir(made)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub" / "hub"))
    for package, scheme in (("s3fs", "s3"), ("gcsfs", "gs"), ("adlfs", "abfs"), ("paramiko", "sftp")):
        monkeypatch.setitem(sys.modules, package, None)  # as where it is not installed
        monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, scheme, raising=False)
    hub.why_offline.cache_clear()
    yield
    hub.why_offline.cache_clear()


def ask(command: str) -> tuple[int, str, float, float]:
    """Exit code, all that was said, seconds of work (whatever else the machine does), and seconds by the clock."""
    said, began, worked = io.StringIO(), time.monotonic(), time.process_time()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(shlex.split(command))
        except SystemExit as stopped:  # argparse
            code = stopped.code
    return code, said.getvalue(), time.process_time() - worked, time.monotonic() - began


def check(command: str, code: int, words: str, found: int, said: str) -> None:
    assert found == code, f"anytok {command}: exit code {found}, expected {code}: {said}"
    assert "Traceback" not in said, f"anytok {command}: {said}"
    missing = [part for part in words.split(" & ") if part not in said]
    assert not missing, f"anytok {command}: {missing} not in: {said}"


def test_there_are_150() -> None:
    commands = [command for command, _, _ in MISTAKES]
    assert len(set(commands)) == len(commands) >= 150


@pytest.mark.parametrize(("command", "code", "words"), MISTAKES, ids=[command for command, _, _ in MISTAKES])
def test_a_mistake_is_named_at_once(offline: None, command: str, code: int, words: str) -> None:
    found, said, worked, waited = ask(command)
    check(command, code, words, found, said)
    if worked > SECONDS:  # what was loaded for the first time
        _, _, worked, waited = ask(command)
    assert worked < SECONDS, f"anytok {command}: {worked:.1f} s"
    assert waited < WAITING, f"anytok {command}: {waited:.1f} s by the clock"


@pytest.mark.parametrize(("command", "code", "words"), IN_PROCESSES, ids=[command for command, _, _ in IN_PROCESSES])
def test_mistakes_in_processes_of_their_own(made: Path, command: str, code: int, words: str) -> None:
    paths = os.pathsep.join([FAKES, *filter(None, [os.environ.get("PYTHONPATH"), str(Path(__file__).parent.parent)])])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(made / "hub")}
    run = [sys.executable, "-m", "anytok", *shlex.split(command)]
    done = subprocess.run(run, cwd=made, env=environment, capture_output=True, text=True, check=False)
    check(command, code, words, done.returncode, done.stdout + done.stderr)
