#!/usr/bin/env python3
"""Measures what one file costs that is wanted back: requests to the repository, bytes read from it, and time.

benches/README.md says how to run it and what is measured. Needs Python's standard library, cargo, cmp and strace;
restic is taken where it is.
"""

import argparse
import datetime
import os
import pathlib
import random
import re
import shutil
import statistics

from measuring import programs, shapes
from measuring.ground import ROOT, Failure, entry, heading, machine, mib, row, say, size, work_folder

CALLS = "open,openat,read,pread64,readv,preadv,preadv2,getdents64"
# A call that another thread interrupted in the trace is written in two parts; what it returned stands in the second.
CALL = re.compile(r"^(\d+) +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))$")
PATH = re.compile(r"\d+<(/[^>]*)>")
STATES = {"cold": "nothing cached", "warm": "with the cache that the backups left"}


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each reading is timed (5)")
    parser.add_argument("--files", type=int, default=200_000, help="number of files (200000)")
    parser.add_argument("--folders", type=int, default=2_000, help="number of their folders (2000)")
    parser.add_argument("--snapshots", type=int, default=20, help="number of snapshots (20)")
    parser.add_argument("--changed", type=int, default=1_000, help="files that change between two of them (1000)")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target/one-file", help="a folder (target/one-file)")
    parser.add_argument("--strongroom", type=pathlib.Path, help="an executable, instead of building one")
    parser.add_argument("--no-install", action="store_true", help="do not install restic")
    parser.add_argument("--seed", type=int, default=1, help="where the made-up data starts (1)")
    parser.add_argument("--keep", action="store_true", help="leave data and repositories behind")
    parser.add_argument("--write", action="store_true", help="also write benches/results/<date>-one-file.md")
    return parser.parse_args()


def main():
    wanted = options()
    wanted.skip = []
    for name in ("rounds", "files", "folders", "snapshots"):
        if getattr(wanted, name) < 1:
            raise Failure(f"--{name} must be at least 1")
    for tool in ("cmp", "strace"):
        if not shutil.which(tool):
            raise Failure(f"{tool} is missing; it is needed to see what is read")
    with work_folder(wanted.work, 30_000 * wanted.files, wanted.keep) as work:
        participants, missing = programs.chosen(work, wanted, (programs.Restic,))
        data = shapes.SmallFiles(wanted, work, wanted.folders)
        data.make()
        fill(wanted, data, participants)
        readings = {(program.name, state): Reading() for program in participants for state in STATES}
        for number in range(wanted.rounds):
            turn = number % len(participants)
            for state in STATES:
                for program in participants[turn:] + participants[:turn]:
                    readings[program.name, state].walls.append(timed(program, data, state))
        for program in participants:
            for state in STATES:
                readings[program.name, state].trace(program, data, state, work)
        text = report(wanted, data, participants, missing, readings)
        print(text, end="", flush=True)
    if wanted.write:
        target = ROOT / "benches/results" / f"{datetime.date.today().isoformat()}-one-file.md"
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)
        say(f"written to {target.relative_to(ROOT)}")


def fill(wanted, data, participants):
    """So many snapshots, some files changed between two of them."""
    chance = random.Random(wanted.seed)
    for program in participants:
        program.start(data)
    for number in range(wanted.snapshots):
        if number:
            for file in chance.sample(range(data.count), min(wanted.changed, data.count)):
                data.path(file).write_bytes(chance.randbytes(chance.randint(shapes.SMALLEST, shapes.LARGEST)))
        for program in participants:
            program.run(program.first())
        say(f"snapshot {number + 1} of {wanted.snapshots}")


def command(program, data, state):
    """What gives the file back; without a cache where nothing is to be cached."""
    arguments = program.dump(data.sample)
    return [arguments[0], "--no-cache", *arguments[1:]] if state == "cold" else arguments


def timed(program, data, state):
    os.sync()
    return program.run(command(program, data, state), reader=["cmp", "-", data.sample]).wall


class Reading:
    """What one program in one state took."""

    def __init__(self):
        self.walls, self.opened, self.listed, self.reads, self.bytes = [], [], set(), 0, 0

    @property
    def objects(self):
        """How many files were opened; a folder may be opened like one, to be listed."""
        return sum(1 for path in self.opened if path not in self.listed)

    def trace(self, program, data, state, work):
        """Runs it once more under strace, and counts what it did in the repository."""
        place = work / "trace"
        traced = ["strace", "-f", "-qq", "-y", "-s", "0", "-e", f"trace={CALLS}", "-o", place]
        program.run([*traced, *command(program, data, state)], reader=["cmp", "-", data.sample])
        begun = {}
        with open(place, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if found := CALL.match(line.rstrip("\n")):
                    process, call, rest, resumed, end = found.groups()
                    if resumed:
                        self.count(resumed, begun.pop(process, "") + end, program.repository)
                    elif rest.endswith("<unfinished ...>"):
                        begun[process] = rest
                    else:
                        self.count(call, rest, program.repository)

    def count(self, call, rest, repository):
        given, _, returned = rest.rpartition(" = ")
        if f"<{escaped(repository)}/" not in rest or returned.startswith("-1"):
            return
        if call in ("open", "openat"):
            if "O_DIRECTORY" not in given:
                self.opened.append(PATH.search(returned).group(1))
        elif call == "getdents64":
            self.listed.add(PATH.search(given).group(1))
        elif length := int(returned.split()[0]):
            self.reads += 1
            self.bytes += length


def escaped(path):
    """A path as strace shows it."""
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'\\"<>' else f"\\{byte:o}" for byte in os.fsencode(path))


def report(wanted, data, participants, missing, readings):
    lines = [f"# One file back, {datetime.date.today().isoformat()}", "", f"{machine()}.",
             "; ".join([f"{program.name} {program.version()}" for program in participants] + missing) + ".", "",
             f"{data.title}, {wanted.snapshots} snapshots, {wanted.changed:,} files changed between two; one file of"
             f" {data.sample.stat().st_size:,} bytes is written to standard output and compared. Median of"
             f" {wanted.rounds} rounds, alternated; what was read is counted in one more run.", ""]
    heads = ["", "", "objects opened", "folders listed", "reads", "bytes read, KiB", "wall, s"]
    lines += heading(heads, 2)
    for state, title in STATES.items():
        for program in participants:
            found = readings[program.name, state]
            lines.append(row([title, program.name, f"{found.objects:,}", f"{len(found.listed):,}", f"{found.reads:,}",
                              f"{found.bytes / 1024:,.1f}", f"{statistics.median(found.walls):.3f}"]))
    lines += [""] + [f"- {program.name}: repository {mib(size(program.repository))}" for program in participants]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    entry(main, "one_file.py")
