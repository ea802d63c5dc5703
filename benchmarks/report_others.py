"""What is said of long clips, jobs, language models and the small models; and the list of all measurements."""

from __future__ import annotations

from statistics import median

from report_tables import (
    RESULTS,
    Row,
    Rows,
    is_older,
    labelled,
    measured_on,
    missing,
    notice,
    provenance,
    results,
    table,
    where,
)  # fmt: skip

SCRIPTS = {"profile": "profile_codecs"}  # whose results have another name


def long() -> str:
    """What an hour of sound takes."""
    measured = results("long")
    if measured is None:
        return missing("An hour at bounded memory", "long")
    rows: Rows = [
        (
            labelled(measured, [row], f"`{row['tokenizer']}`"),
            f"{row['minutes']:.0f} min",
            *(f"{row[f'{way}_s']:.0f} s, {row[f'{way}_peak_mb']:,.0f} MB" for way in ("encode", "decode")),
            str(row.get("codes_unlike_whole", "")),
            str(row.get("samples_unlike_whole", "")),
        )
        for row in measured["rows"]
    ]
    head = ("tokenizer", "sound", "encode", "decode", "codes unlike one pass", "samples unlike one pass")
    return f"{notice(measured)}{table(head, rows)}\n\n{measured_on(measured)}"


def faults() -> str:
    """What killing jobs has shown."""
    found = results("faults")
    if found is None:
        return missing("Jobs under SIGKILL", "faults")
    bad = ("lost items", "doubled items", "unreadable files", "differing files", "files left over")
    return (
        f"{found['runs']} jobs of {found['items']} items were killed {found['kills']} times with SIGKILL and started "
        f"again, with other numbers of workers, {found['runs that ended on ray']} of them on Ray: "
        f"{', '.join(f'{found[name]} {name}' for name in bad)}. (`benchmarks/faults.py`, at `{found['commit']}`.)"
    )


def job_costs() -> str:
    """What a job costs beside the model."""
    found = results("jobs")
    if found is None:
        return missing("What a job costs", "jobs")
    plan, most = found["plan"], max(found["memory"].values(), key=lambda one: one["items"])
    return (
        f"A job runs at {found['throughput']['median_ratio']:.2f} of the speed of the bare model on the same items, "
        f"decoding of media included. Planning {plan['items']:,} items takes {plan['seconds']:.0f} s and "
        f"{plan['own_mb']:.0f} MB; the process that leads a job of {most['items']:,} items takes "
        f"{most['own_mb']:.0f} MB. (`benchmarks/jobs.py`, {where(found)}, at `{found['commit']}`.)"
    )


def compose() -> str:
    """What composing stored codes takes, and what killing such jobs has shown."""
    found, killed = results("compose"), results("faults-compose")
    parts = []
    if found is None:
        parts.append(missing("Composing", "compose"))
    else:
        rows: Rows = [
            (row["documents"], f"{row['tokens_per_item']:,.0f}", f"{row['million_per_s']:.1f} M", f"{row['fill']:.2%}")
            for row in found["rates"]
        ]
        parts.append(table(("documents", "tokens of one", "tokens a second, one core", "positions filled"), rows))
        memory: Rows = [
            (f"{row['items']:,}", f"{row['seconds']:.0f} s", f"{row['own_mb']:.0f} MB", f"{row['worker_mb']:.0f} MB",
             f"{row['million_per_s']:.1f} M")
            for row in found["memory"]
        ]  # fmt: skip
        head = ("items of a job", "time", "the process that leads it", "its worker", "tokens a second")
        parts.append(table(head, memory))
        ratio = found["encoding"]
        published = (
            f"; with {ratio['published_items']} at AnyGPT's sizes, {ratio['published_ratio']:,.0f} times"
            if "published_ratio" in ratio
            else ""
        )
        parts.append(
            f"Encoding {ratio['items']} pictures and recordings with the small models takes {ratio['ratio']:,.0f} "
            f"times as long as composing their codes{published}. (`benchmarks/compose.py`, {where(found)}, at "
            f"`{found['commit']}`.)"
        )
    if killed is None:
        parts.append(missing("Composing under SIGKILL", "faults"))
    else:
        bad = ("lost items", "doubled items", "unreadable files", "differing files", "files left over")
        parts.append(
            f"{killed['runs']} such jobs of {killed['items']} documents were killed {killed['kills']} times with "
            f"SIGKILL and started again, with other numbers of workers, {killed['runs that ended on ray']} of them on "
            f"Ray: "
            f"{', '.join(f'{killed[name]} {name}' for name in bad)}. (`benchmarks/faults.py --compose`, at "
            f"`{killed['commit']}`.)"
        )
    return "\n\n".join(parts)


def language_models() -> str:
    """What has been shown with language models, a line each."""
    llm, stream, recite, fuzz = map(results, ("vocab_llm", "vocab_stream", "vocab_recite", "vocab_fuzz"))
    if not (llm and stream and recite and fuzz):
        return missing("Language models", "vocab_llm")
    bound, free = llm["generations"]["with"], llm["generations"]["without"]
    runs = [one["runs"] for one in bound["runs_of_parsed"].values()]
    decoded = [one["decoded"] for one in bound["runs_of_parsed"].values()]
    frames = sorted({row["first_sound_after_frames"] for row in stream["rows"]})
    unlike = max(row["max_difference"] for row in stream["rows"])
    equal = [item for item in recite["items"] if item["ids_equal"] and item["media_equal"]]
    rows: Rows = [
        (
            "A model with random weights samples under `LegalRuns`",
            f"{bound['parsed']:,} of {bound['generations']:,} lines parse, "
            f"{sum(decoded):,} of {sum(runs):,} runs decode",
            _at("vocab_llm", llm["generations"]["machine"]),
        ),
        (
            "The same model without it",
            f"{free['parsed']:,} of {free['generations']:,} lines parse",
            _at("vocab_llm", llm["generations"]["machine"]),
        ),
        (
            "Time of sampling under `LegalRuns`, beside that without",
            ", ".join(
                f"{llm['overhead'][size]['ratio']:.2f} ({llm['overhead'][size]['parameters'] / 1e6:.0f} M parameters)"
                for size in ("tiny", "small")
            ),
            _at("vocab_llm", llm["overhead"]["machine"]),
        ),
        (
            f"A model of {recite['model_parameters'] / 1e6:.0f} M parameters learns {len(recite['items'])} "
            "conversations by heart, through `Trainer` and `generate`",
            f"{len(equal)} come back with equal ids and media",
            _at("vocab_recite", recite["machine"]),
        ),
        (
            "Sound streamed in pieces of every size, beside the same ids decoded at once",
            f"largest difference {unlike:g}; first sound after {' or '.join(map(str, frames))} frames",
            _at("vocab_stream", stream["machine"]),
        ),
        (
            "Random and damaged lines of ids and texts, through every policy",
            f"{fuzz['id_lines'] + fuzz['texts']:,} lines, {fuzz['crashes']} crashes",
            _at("vocab_fuzz", fuzz["machine"]),
        ),
    ]
    return table(("what was tried", "what came of it", "measured by"), rows)


def _at(script: str, machine: Row) -> str:
    return f"`{script}.py`, `{machine['commit']}`"


def small_models() -> str:
    """How near what comes back is, a row a small model."""
    found = results("quality")
    if found is None:
        return missing("The small models", "quality")
    wild: dict[str, list[Row]] = {}
    for row in found["wild"]["files"]:
        wild.setdefault(row["tokenizer"], []).append(row)
    rows: Rows = []
    for name in ("speech-mini", "music-mini"):
        one, shares = found[name], [row["log_mel"] / row["untrained_log_mel"] for row in wild[name]]
        said = [f"{one['mel_of_untrained']:.2f} of an untrained model's log-mel distance, over {one['clips']} clips"]
        others = [f"{min(shares):.2f} to {max(shares):.2f} of it, over {len(shares)} recordings"]
        if "stoi" in one["all"]:
            said.append(f"STOI {one['all']['stoi']:.2f} (untrained {one['all']['stoi_untrained']:.2f})")
            others.append(f"STOI {median(row['stoi'] for row in wild[name]):.2f}")
        rows.append((f"`{name}`", "; ".join(said), "; ".join(others)))
    seed, world = found["seed-mini"], results("small_world")
    if world is None:
        return missing("The small models", "small_world")
    scenes = next(row for row in world["rows"] if row["name"] == "seed-mini")
    rows.append((
        "`seed-mini`",
        f"objects are told in {scenes['kind']:.0%} of {scenes['scenes']} scenes, by a classifier fitted to originals; "
        f"{seed['retrieved']} of {seed['pictures']} photographs are nearest to their own original (by chance "
        f"{seed['by_chance']}), PSNR {seed['psnr']:.1f} dB", "",
    ))  # fmt: skip
    return table(("model", "on media kept out of training", "on recordings from elsewhere"), rows)


def measurements() -> str:
    """Every file of results: its script, its machine, its commits, and whether the kernels' sources are today's."""
    rows: Rows = []
    for path in sorted(RESULTS.glob("*.json")):
        record = results(path.stem) or {}
        parts = _parts(record)
        script = SCRIPTS.get(path.stem.partition("-")[0], path.stem.partition("-")[0])
        commits = dict.fromkeys(provenance(part["machine"], row)["commit"] for part in parts for row in part["rows"])
        machines = dict.fromkeys(where(part["machine"]) for part in parts)
        before = [is_older(part, row) for part in parts for row in part["rows"]]
        rows.append((
            f"[{path.stem}](results/{path.name})", f"[{script}.py]({script}.py)", "; ".join(machines),
            ", ".join(f"`{commit}`" for commit in commits),
            "older" if all(before) else "some rows older" if any(before) else "today's",
        ))  # fmt: skip
    head = ("results", "script", "machine", "commits", "kernels and models")
    return table(head, rows)


def _parts(record: Row) -> list[Row]:
    """The parts of a record that have a machine of their own, each with its rows."""
    if "machine" in record:
        return [{"machine": record["machine"], "rows": record.get("rows", [{}])}]
    if "commit" in record:
        return [{"machine": record, "rows": [{}]}]
    return [{"machine": part["machine"], "rows": [{}]} for part in record.values()]
