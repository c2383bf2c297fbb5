#!/usr/bin/env python3
"""Measures how far Strongroom scales: very many files, one very large folder, one very large file.

benches/README.md says how to run it and what is measured. Needs only Python's standard library, cargo and cmp.
"""

import argparse
import datetime
import os
import pathlib
import shutil
import statistics

from measuring import programs, shapes
from measuring.compare import compare_trees
from measuring.ground import MEBIBYTE, ROOT, Failure, entry, heading, machine, mib, retire, row, say, size, work_folder
from measuring.process import INTERVAL_MILLISECONDS
from measuring.results import MEASURES, MEMORY_MEBIBYTES

SHAPES = {
    "folders": lambda wanted, work: shapes.SmallFiles(wanted, work, wanted.folders),
    "one-folder": lambda wanted, work: shapes.SmallFiles(wanted, work, 1),
    "large": shapes.LargeFile,
}
STEPS = {
    "first": "first backup",
    "unchanged": "nothing changed",
    "ls": "`ls` of everything",
    "dump": "`dump` of one file",
    "restore": "restore",
    "check": "check, all data read",
}
COLUMNS = ("wall", "cpu", "resident", "anonymous")


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="how often everything is repeated (1)")
    parser.add_argument("--only", action="append", choices=SHAPES, help="one shape instead of all; may be repeated")
    parser.add_argument("--peers", action="store_true", help="measure restic too")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target/scale",
                        help="a folder for data and repositories (target/scale)")
    parser.add_argument("--strongroom", type=pathlib.Path, help="an executable, instead of building one")
    parser.add_argument("--no-install", action="store_true", help="do not install restic")
    parser.add_argument("--files", type=int, default=200_000, help="number of small files (200000)")
    parser.add_argument("--folders", type=int, default=2_000, help="number of their folders (2000)")
    parser.add_argument("--large-bytes", type=int, default=20_000_000_000, help="length of the large file (20 GB)")
    parser.add_argument("--dense-bytes", type=int, default=2_000_000_000, help="how much of it is no hole (2 GB)")
    parser.add_argument("--pieces", type=int, default=200, help="in how many pieces (200)")
    parser.add_argument("--seed", type=int, default=1, help="where the made-up data starts (1)")
    parser.add_argument("--keep", action="store_true", help="leave the last data and repositories behind")
    parser.add_argument("--write", action="store_true", help="also write benches/results/<date>-scale.md")
    return parser.parse_args()


def main():
    wanted = options()
    wanted.skip = []
    for name in ("rounds", "files", "folders", "large_bytes", "dense_bytes", "pieces"):
        if getattr(wanted, name) < 1:
            raise Failure(f"--{name.replace('_', '-')} must be at least 1")
    if not shutil.which("cmp"):
        raise Failure("cmp is missing; it compares what `dump` writes")
    chosen = {name: make for name, make in SHAPES.items() if name in (wanted.only or SHAPES)}
    with work_folder(wanted.work, room(wanted, chosen), wanted.keep) as work:
        participants, missing = programs.chosen(work, wanted, (programs.Restic,) if wanted.peers else ())
        texts = [opening(wanted, participants, missing)]
        print(texts[0], end="", flush=True)
        for number, make in enumerate(chosen.values()):
            if number:
                retire(work / "data", work)
            texts.append(measure(wanted, make(wanted, work), participants, work))
            # What is measured is shown at once: the next shape may fail after an hour.
            print(texts[-1], end="", flush=True)
    if wanted.write:
        target = ROOT / "benches/results" / f"{datetime.date.today().isoformat()}-scale.md"
        target.parent.mkdir(exist_ok=True)
        target.write_text("".join(texts))
        say(f"written to {target.relative_to(ROOT)}")


def room(wanted, chosen):
    """Bytes of disk space needed, if every small file takes a few blocks and a restored copy keeps no hole."""
    large = 3 * wanted.dense_bytes + wanted.large_bytes
    return max(large if name == "large" else 20_000 * wanted.files for name in chosen) * (2 if wanted.peers else 1)


def measure(wanted, shape, participants, work):
    """All rounds of one shape, as a section of the report."""
    shape.make()
    samples = {(program.name, step): [] for program in participants for step in STEPS}
    outcomes = {}
    for number in range(1, wanted.rounds + 1):
        for program in participants:
            program.start(shape)
        turn = (number - 1) % len(participants)
        for step in STEPS:
            for program in participants[turn:] + participants[:turn]:
                os.sync()
                sample = one(program, step, shape)
                samples[program.name, step].append(sample)
                say(f"{shape.title}, round {number}: {program.name}, {STEPS[step]}: {sample.wall:.2f} s,"
                    f" {mib(sample.anonymous or sample.resident)}")
                if step == "restore":
                    outcomes[program.name] = restored(program, shape, work)
    for program in participants:
        outcomes[program.name] = f"repository {mib(size(program.repository))}; {outcomes[program.name]}"
    return section(shape, participants, samples, outcomes)


def one(program, step, shape):
    """One step of one program, and whether what it gave is right."""
    if step == "dump":
        return program.run(program.dump(shape.sample), reader=["cmp", "-", shape.sample])
    sample = program.measure(step)
    if step == "ls":
        with open(program.said(), "rb") as listing:
            lines = sum(1 for _ in listing)
        if lines < shape.entries:
            raise Failure(f"{program.name}: ls has {lines} lines, and {shape.entries} files and folders were backed up")
    return sample


def restored(program, shape, work):
    """Compares what was restored, frees its space, and says what it took on the disk."""
    try:
        compare_trees(shape.folder, program.restored(), work / "compare")
    except Failure as failure:
        raise Failure(f"{program.name}: {failure}") from None
    taken = sum(shapes.occupied(path) for path in program.restored().rglob("*") if path.is_file())
    retire(program.target, work)
    return f"what was restored equals what was backed up and takes {mib(taken)} of the disk"


def opening(wanted, participants, missing):
    lines = [
        f"# How far it scales, {datetime.date.today().isoformat()}",
        "",
        f"- Programs: {'; '.join([program.version() for program in participants] + missing)}",
        f"- Machine: {machine()}",
        f"- Rounds: {wanted.rounds}; seed {wanted.seed}; page cache as the step before left it",
        "",
        f"The target of {MEMORY_MEBIBYTES} MiB is for anonymous memory: what a process holds without mapped files,"
        f" looked up every {INTERVAL_MILLISECONDS} ms. Resident memory counts the pages of mapped files too.",
    ]
    return "\n".join(lines) + "\n"


def section(shape, participants, samples, outcomes):
    """One shape: what it is, the table, and what came of restoring it."""
    lines = ["", f"## {shape.title}", "", f"{shape.facts()}.", ""]
    lines += heading(["step", "program", *[MEASURES[column].title for column in COLUMNS], "added, MiB", "target"], 2)
    for step, title in STEPS.items():
        for program in participants:
            found = samples[program.name, step]
            added = f"{statistics.median(sample.added for sample in found) / MEBIBYTE:,.2f}"
            cells = [median(found, column) for column in COLUMNS]
            lines.append(row([title, program.name, *cells, added if step in ("first", "unchanged") else "-",
                              verdict(found) if program is participants[0] else ""]))
    lines += ["", *[f"- {name}: {outcome}" for name, outcome in outcomes.items()]]
    return "\n".join(lines) + "\n"


def median(found, column):
    """The median of the rounds, with the least and the most where there was more than one."""
    measure = MEASURES[column]
    values = [value for value in map(measure.of, found) if value is not None]
    if not values:
        return "not known"
    span = f" ({measure.form.format(min(values))}-{measure.form.format(max(values))})" if len(values) > 1 else ""
    return measure.form.format(statistics.median(values)) + span


def verdict(found):
    """Whether the most memory of any round stays within the target; where the system tells no better, resident."""
    most = max(sample.resident if sample.anonymous is None else sample.anonymous for sample in found)
    met = most <= MEMORY_MEBIBYTES * MEBIBYTE
    return f"≤ {MEMORY_MEBIBYTES} MiB: {'met' if met else '**missed**'}"


if __name__ == "__main__":
    entry(main, "scale.py")
