"""What is said of the memory: what it finds, keeps and costs."""

from __future__ import annotations

from report_tables import Row, missing, results, table, where


def memory() -> str:
    """The tables of `benchmarks/memory.py`; a part that nobody has measured is said to be missing."""
    found = results("memory") or {}
    parts = [told(found[name]) if name in found else missing(name, "memory") for name, told in _PARTS.items()]
    calls = [row.get("llm_calls", 0) + row.get("connections", 0) for part in found.values() for row in _rows(part)]
    machines: dict[str, list[str]] = {}
    for part in found.values():
        machines.setdefault(where(part["machine"]), []).append(f"`{part['machine']['commit']}`")
    if found:
        said = "; ".join(f"{machine}, at {', '.join(dict.fromkeys(commits))}" for machine, commits in machines.items())
        parts.append(f"Calls to a language model and connections opened: {sum(calls)}. {said}.")
    return "\n\n".join(parts)


def _rows(part: Row) -> list[Row]:
    return [part, *part.get("rows", [])]


def _pictures(part: Row) -> str:
    rows = [(f"a picture, {name}", f"{share} %") for name, share in part["recall"].items() if "word" not in name]
    rows += [(name, f"{share} %") for name, share in part["recall"].items() if "word" in name]
    head, alone = (
        (f"search among {part['number']} pictures, by {part['queries']} of", "its memory is first"),
        part["mem0 alone"],
    )
    return (
        f"{table(head, rows)}\n\n"
        f"Added again, {part['added again is one']} of {part['number']} were the same memory; after reopening, the "
        f"codes of {part['codes equal after reopening']} were equal. mem0 alone, given {alone['given']} of the same "
        f"messages: {alone['pictures kept']} pictures kept, and a search by one ends with "
        f'"{alone["search by a picture"]}".'
    )


def _speech(part: Row) -> str:
    rows = [(name, f"{share} %") for name, share in part["recall"].items()]
    head = (f"search by {part['clips']} clips of 3 s among {part['among']} recordings", "its memory is first")
    return table(head, rows)


def _size(part: Row) -> str:
    names = ("memories", "add ms", "search by words ms", "search by codes ms", "open ms", "bytes a memory")
    head = ("memories", "add, ms", "search by words, ms", "search by codes, ms", "open, ms", "bytes a memory")
    timed = {row["timed"] for row in part["rows"]}
    shown = table(head, [tuple(f"{row[name]:,}" for name in names) for row in part["rows"]])
    return f"{shown}\n\nMedians of {', '.join(map(str, timed))} adds, and as many searches of each kind."


def _kills(part: Row) -> str:
    return (
        f"{part['runs']} processes were killed with SIGKILL while they added: of {part['acknowledged']} acknowledged "
        f"memories, {part['lost']} were lost, or without their codes or history."
    )


def _threads(part: Row) -> str:
    bare = part["mem0 alone, four threads"]
    return (
        f"Of {part['adds']} adds by eight threads, {part['lost after reopening']} were lost. mem0 without a lock, "
        f"{bare['adds']} adds by four threads: {bare['errors']} errors, "
        f"{bare['acknowledged and lost after reopening']} acknowledged and lost."
    )


_PARTS = {"pictures": _pictures, "speech": _speech, "size": _size, "kills": _kills, "threads": _threads}
