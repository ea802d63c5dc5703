"""A memory keeps what it acknowledged, and itself: kills, threads, other processes, broken parts, no network."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from memories import remember, shown
from memory_child import numbered

from anytok import StoreError, UsageError
from anytok.errors import MissingExtraError
from anytok.memory import Memory

CHILD = Path(__file__).parent / "memory_child.py"
ROOT = CHILD.parent.parent


def environment(**given: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{CHILD.parent}", **given}


def killed_while_adding(folder: Path, first: int, delay: float) -> dict[str, int]:
    """Id → number of what a process acknowledged before SIGKILL came, some time after its first."""
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(folder), str(first)], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    lines = [child.stdout.readline()]
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    lines += child.stdout.readlines()
    assert child.wait() == -signal.SIGKILL
    whole = [line.split() for line in lines if line.endswith("\n")]
    return {id: int(number) for number, id in whole}


def lost(memory: Memory, acknowledged: dict[str, int]) -> list[int]:
    """The numbers whose memory is not there whole: its words, its codes, its history."""
    held = {item.id: item for item in memory.get_all()}
    missing = []
    for id, number in acknowledged.items():
        item = held.get(id)
        whole = item is not None and item.codes == numbered(number) and item.words == f"number {number}"
        changes = memory.history(id) if whole else []
        if [(one.event, one.codes) for one in changes] != [("add", numbered(number))]:
            missing.append(number)
    return missing


def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    """`benchmarks/memory.py` does this 50 times."""
    acknowledged: dict[str, int] = {}
    rng = random.Random(0)
    for run in range(3):
        acknowledged |= killed_while_adding(tmp_path / "memories", run * 10_000, rng.uniform(0.05, 0.4))
    with remember(tmp_path) as memory:
        assert len(acknowledged) >= 3 and lost(memory, acknowledged) == []
        for item in memory.get_all():  # also the one under way when the kill came
            assert memory.history(item)[0].codes == item.codes
        gone = next(iter(acknowledged))
        memory.delete(gone)
        assert lost(memory, acknowledged) == [acknowledged[gone]], "a loss is found"


def test_a_memory_without_its_first_row_of_history_has_one(tmp_path: Path) -> None:
    """mem0 writes the vector first: a kill between the two writes leaves this."""
    with remember(tmp_path) as memory:
        id = memory.add([shown(1), "our cat"])
        memory._store.mem0.db.connection.execute("DELETE FROM history")
        [change] = memory.history(id)
        assert (change.event, change.words, change.codes) == ("add", "our cat", shown(1))


def added_by_threads(memory: Memory, threads: int, each: int) -> dict[str, int]:
    def work(thread: int) -> dict[str, int]:
        numbers = range(thread * each, (thread + 1) * each)
        return {str(memory.add([numbered(number), f"number {number}"])): number for number in numbers}

    with ThreadPoolExecutor(threads) as pool:
        return {id: number for part in pool.map(work, range(threads)) for id, number in part.items()}


def test_threads_lose_nothing(tmp_path: Path) -> None:
    """`benchmarks/memory.py`: 125 adds of each of eight."""
    with remember(tmp_path) as memory:
        acknowledged = added_by_threads(memory, 8, 5)
        assert len(acknowledged) == 40 and lost(memory, acknowledged) == []
    with remember(tmp_path) as memory:
        assert lost(memory, acknowledged) == []


def test_threads_that_add_the_same_make_one(tmp_path: Path) -> None:
    with remember(tmp_path) as memory, ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: memory.add([shown(1), "our cat"]), range(16)))
        assert len(ids) == 1 == len(memory.get_all()) and memory.get(ids.pop()).times == 16


def test_a_folder_is_open_once(tmp_path: Path) -> None:
    code = (
        "import sys; from memories import any2any; import anytok\n"
        "try: anytok.load_memory(sys.argv[1], any2any(), user='bob')\n"
        "except anytok.UsageError as error: print(error)\n"
        "else: print('opened')"
    )

    def other() -> str:
        command = [sys.executable, "-c", code, str(tmp_path / "memories")]
        return subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout

    with remember(tmp_path) as memory:
        id = memory.add("mine")
        assert "is open, here or in another process: close it there" in other()
        with pytest.raises(UsageError, match="is open"):
            remember(tmp_path)
        assert memory.get(id).words == "mine"
    assert other().strip() == "opened"
    with pytest.raises(UsageError, match="is closed"):
        memory.get(id)


def test_vectors_of_another_embedder_are_refused(tmp_path: Path) -> None:
    def words(text: str) -> list[float]:
        return [float(len(text)), 1.0, 0.0]

    with remember(tmp_path, words=words) as memory:
        memory.add("one")
        assert memory.search("one")[0].score == pytest.approx(1, abs=1e-3)
    for others in ({}, {"words": lambda text: [1.0, 2.0, 3.0]}):
        with pytest.raises(UsageError, match="the words embedder it was made with"):
            remember(tmp_path, **others)
    with pytest.raises(UsageError, match="both given"):
        remember(tmp_path, words=words, mem0={"embedder": {"provider": "openai"}})
    with remember(tmp_path, words=words) as memory:
        assert memory.search("one")[0].words == "one"


@pytest.mark.parametrize("vector", [[1.0], [float("nan"), 1.0], [1.0, float("inf")], "no vector", None, "raise"])
def test_an_embedder_that_fails_leaves_nothing(tmp_path: Path, vector: Any) -> None:
    broken = False

    def words(text: str) -> Any:
        if broken and vector == "raise":
            raise ConnectionError("the embedder is down")
        return vector if broken else [1.0, 2.0]

    with remember(tmp_path, words=words) as memory:
        kept = memory.add([shown(1), "kept"])
        before = memory.get(kept), memory.history(kept)
        broken = True
        for call in (
            lambda: memory.add([shown(2), "new"]), lambda: memory.add("new"), lambda: memory.update(kept, "new"),
            lambda: memory.add([shown(1), "new"]),
        ):  # fmt: skip
            with pytest.raises((StoreError, UsageError), match=r"embedder|finite|float|number"):
                call()
        broken = False
        assert memory.get_all() == [before[0]] and memory.history(kept) == before[1]


def test_a_store_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its vectors, or its history, the second of its two writes."""
    with remember(tmp_path) as memory:
        kept = memory.add([shown(1), "kept"])

        def fail(*_: Any, **__: Any) -> None:
            raise OSError(28, "no space left")

        for place, name in ((memory._store.mem0.vector_store, "insert"), (memory._store.mem0.db, "add_history")):
            with monkeypatch.context() as patch:
                patch.setattr(place, name, fail)
                with pytest.raises(StoreError, match=r"nothing was remembered .*no space left"):
                    memory.add([shown(2), "new"])
                if name == "add_history":
                    with pytest.raises(StoreError, match="is changed, but not its history"):
                        memory.update(kept, "changed")
            assert [item.id for item in memory.get_all()] == [kept]
        assert memory.get(kept).words == "changed", "as the error said"
        assert memory.add([shown(2), "new"])


@pytest.mark.parametrize("name", ["memory.json", "history.db", "vectors/meta.json", "vectors/**/storage.sqlite"])
def test_a_damaged_folder_is_told(tmp_path: Path, name: str) -> None:
    with remember(tmp_path) as memory:
        memory.add([shown(1), "our cat"])
    [path] = (tmp_path / "memories").glob(name)
    whole = path.read_bytes()
    path.write_bytes(b"\x07" * 5000)
    with pytest.raises(StoreError, match="the folder cannot be opened"):
        remember(tmp_path)
    path.write_bytes(whole)
    with remember(tmp_path) as memory:
        assert memory.get_all()[0].codes == shown(1)


def test_damaged_codes_are_told(tmp_path: Path) -> None:
    with remember(tmp_path) as memory:
        id = memory.add([shown(1), "our cat"])
        memory._store.mem0.vector_store.update(id, payload={**memory.get(id).metadata(), "codes": '{"spec": 1}'})
        with pytest.raises(StoreError, match=f"memory {id} is damaged"):
            memory.get(id)


def test_only_the_owner_reads_the_folder(tmp_path: Path) -> None:
    with remember(tmp_path):
        assert (tmp_path / "memories").stat().st_mode & 0o777 == 0o700


_QUIET = """
import json, logging, os, socket, sys
from pathlib import Path
opened = []
def refuse(*args, **kwargs):
    opened.append(repr(args)); raise OSError("no network here")
for name in ("connect", "connect_ex", "sendto"):  # urllib3 binds one to ::1 at import, to see whether IPv6 is there
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = refuse
logging.getLogger("urllib3").setLevel(logging.INFO)
def levels():
    return {name: logging.getLogger(name).level for name in ("urllib3", "posthog", "")}, logging.getLogger().handlers
before, loggers = dict(os.environ), levels()
from memories import any2any, remember
from memory_child import numbered
with remember(Path(sys.argv[1])) as memory:
    id = memory.add([numbered(1), "Alice met Bob in Rome yesterday"])
    memory.add("Alice met Bob in Rome yesterday")
    memory.search("Alice"), memory.search(numbered(1)), memory.update(id, "changed"), memory.history(id)
    memory.delete(id, erase=True), memory.delete_all(), memory.reset()
assert dict(os.environ) == before, "the environment changed"
assert levels() == loggers, "the loggers changed"
print(json.dumps(opened))
"""


def test_nothing_leaves_the_folder(tmp_path: Path) -> None:
    """No connection, no home, no setting: proved in a process of its own, where refused ones count, too."""
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _QUIET, str(tmp_path)], capture_output=True, text=True, cwd=home,
        env=environment(HOME=str(home), TMPDIR=str(home), XDG_CACHE_HOME=str(home), PYTHONDONTWRITEBYTECODE="1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert list(home.rglob("*")) == [], "something was written outside the folder"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "memories"]


def test_mem0_with_its_telemetry_on_is_refused(tmp_path: Path) -> None:
    code = (
        "import mem0, sys\nfrom memories import remember\nfrom pathlib import Path\n"
        "import anytok\ntry: remember(Path(sys.argv[1]))\nexcept anytok.UsageError as error: print(error)"
    )
    env = environment(HOME=str(tmp_path), MEM0_DIR=str(tmp_path / "mem0"), MEM0_TELEMETRY="True")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=env, capture_output=True, text=True)
    assert "MEM0_TELEMETRY=False" in done.stdout, done.stderr


def test_without_mem0_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mem0"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mem0", None)
    with pytest.raises(MissingExtraError, match=r"anytok\[memory\]"):
        remember(tmp_path)
