#!/usr/bin/env python3
"""Runs Strongroom, restic and rustic side by side on the same data and prints Markdown tables.

benches/README.md says how to run it and what is measured. Needs only Python's standard library and cargo; of the
other programs it takes those that are there or can be installed.
"""

import argparse
import datetime
import os
import pathlib

from measuring import bound, chart, data, programs, report
from measuring.compare import compare_trees
from measuring.ground import ROOT, Failure, entry, say, size, work_folder
from measuring.results import Bound, Result

DATA = {kind.name: kind for kind in (data.Vault, data.Sources)}
PEERS = (programs.Restic, programs.Rustic)
README = ROOT / "benches/README.md"


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is repeated (3)")
    parser.add_argument("--only", choices=DATA, help="one data set instead of both")
    parser.add_argument("--skip", action="append", default=[], choices=[peer.name for peer in PEERS],
                        help="leave a program out; may be repeated")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target/side-by-side",
                        help="a folder for data and repositories (target/side-by-side)")
    parser.add_argument("--strongroom", type=pathlib.Path, help="an executable, instead of building one")
    parser.add_argument("--generator", type=pathlib.Path,
                        help="an executable of examples/generate, instead of building one")
    parser.add_argument("--tools", type=pathlib.Path, default=programs.default_tools(),
                        help="where rustic is built if there is none (target/bench-tools)")
    parser.add_argument("--no-install", action="store_true", help="install neither restic nor rustic")
    parser.add_argument("--attachments", type=int, default=1500, help="number of attachments (1500)")
    parser.add_argument("--attachment-bytes", type=int, default=1_500_000_000, help="their size together (1.5 GB)")
    parser.add_argument("--database-bytes", type=int, default=280_000_000, help="size of the database (280 MB)")
    parser.add_argument("--change-pages", type=float, default=0.06, help="share of pages a night changes (0.06)")
    parser.add_argument("--source-files", type=int, default=80_000, help="number of source files (80000)")
    parser.add_argument("--sources", type=pathlib.Path, default=data.default_sources(),
                        help="where source files come from ($CARGO_HOME/registry/src)")
    parser.add_argument("--seed", type=int, default=1, help="where the made-up data starts (1)")
    parser.add_argument("--cold", action="store_true", help="empty the page cache before each step (needs root)")
    parser.add_argument("--keep", action="store_true", help="leave data and repositories behind")
    parser.add_argument("--write", action="store_true",
                        help="also write benches/results/<date>.md and .svg, and show the chart in benches/README.md")
    return parser.parse_args()


def main():
    wanted = options()
    for name in ("rounds", "attachments", "source_files"):
        if getattr(wanted, name) < 1:
            raise Failure(f"--{name.replace('_', '-')} must be at least 1")
    if wanted.cold and os.geteuid() != 0:
        raise Failure("--cold empties the page cache, which needs root")
    chosen = [kind for name, kind in DATA.items() if wanted.only in (None, name)]
    with work_folder(wanted.work, room(wanted, chosen), wanted.keep) as work:
        participants, missing = programs.chosen(work, wanted, PEERS)
        texts, results = [report.opening(wanted, participants, missing)], []
        print(texts[0], end="", flush=True)
        for kind in chosen:
            results.append(compare(wanted, kind(wanted, work), participants, work))
            texts.append(report.section(results[-1]))
            # What is measured is shown at once: the next data set may fail after an hour.
            print(texts[-1], end="", flush=True)
    if wanted.write:
        write(texts, results)


def room(wanted, chosen):
    """Bytes of disk space needed: the data, and for each program a repository and a restored copy."""
    known = {"vault": wanted.attachment_bytes + wanted.database_bytes, "sources": 16_000 * wanted.source_files}
    each = [known[kind.name] for kind in chosen]
    return (2 * (1 + len(PEERS)) + 1) * max(each) + sum(each)


def compare(wanted, subject, participants, work):
    """All rounds of one data set."""
    subject.make()
    result = Result(subject, participants)
    for number in range(1, wanted.rounds + 1):
        subject.begin(number)
        for program in participants:
            program.start(subject)
        # Who goes first changes, so that nobody always finds what the others have warmed up or worn out.
        turn = (number - 1) % len(participants)
        order = participants[turn:] + participants[:turn]
        for step in subject.steps:
            subject.before(step, number)
            for program in order:
                bound.level_ground(program.repository if step in data.READING else subject.folder, wanted.cold)
                sample = program.measure(step)
                result.samples[program.name, step].append(sample)
                say(f"{subject.name}, round {number}: {program.name}, {subject.steps[step]}: {sample.wall:.2f} s")
            if found := alone(wanted, step, subject, participants[0], result, work):
                result.bounds[step].append(found)
            if step == "restore" and number == 1:
                verify(subject, participants, work)
        for program in order:
            result.openings[program.name].append(program.measure("snapshots").wall)
            result.repositories[program.name].append(size(program.repository))
    return result


def alone(wanted, step, subject, ours, result, work):
    """What the disk alone takes for the same bytes as Strongroom in this step; None where it has nothing to do."""
    reads = {"first": subject.folder, "check": ours.repository}.get(step)
    added = result.samples[ours.name, step][-1].added
    count = {"first": added, "night": added, "restore": size(subject.folder)}.get(step, 0)
    found = Bound(write_bytes=count, read_bytes=size(reads) if reads else 0)
    if reads:
        bound.level_ground(reads, wanted.cold)
        found.read = bound.read(reads)
    if count:
        found.write = bound.write(work, count)
    return found if reads or count else None


def verify(subject, participants, work):
    """Compares what every program restored with what was backed up."""
    for program in participants:
        try:
            compare_trees(subject.folder, program.restored(), work / "compare")
        except Failure as failure:
            raise Failure(f"{program.name}: {failure}") from None
        say(f"{subject.name}: what {program.name} restored equals what was backed up")


def write(texts, results):
    """Keeps the report and the chart, and has the README show the chart."""
    folder, date = README.parent / "results", datetime.date.today().isoformat()
    folder.mkdir(exist_ok=True)
    picture = f"![Bars of every step, program by program]({{}}{date}.svg)"
    (folder / f"{date}.svg").write_text(chart.draw(f"Side by side, {date}", results))
    head, rest = texts[0].split("\n", 1)
    (folder / f"{date}.md").write_text("\n".join([head, "", picture.format(""), rest]) + "".join(texts[1:]))
    readme = README.read_text().split("\n")
    place = [number for number, line in enumerate(readme) if line.startswith("![") and "results/" in line]
    if place:
        readme[place[0]] = picture.format("results/")
    elif "## Results" in readme:
        after = readme.index("## Results") + 1
        readme[after:after] = ["", picture.format("results/")]
    README.write_text("\n".join(readme))
    say(f"written to benches/results/{date}.md and .svg; benches/README.md shows the chart")


if __name__ == "__main__":
    entry(main, "side_by_side.py")
