#!/usr/bin/env python3
"""Measures two nights of a database server: what the second adds after a few of the rows changed, time and memory.

benches/README.md says how to run it and what is measured. Needs Python's standard library, cargo, and the servers with
their clients; restic is taken where it is.
"""

import argparse
import datetime
import os
import pathlib
import statistics
import subprocess

from measuring import programs, servers
from measuring.ground import MEBIBYTE, ROOT, Failure, entry, heading, machine, mib, retire, row, say, size, work_folder

# A row is about this long in a dump.
ROW_BYTES = 1_000
WORN = 0.05


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each night is measured (3)")
    parser.add_argument("--rows", type=int, default=600_000, help="number of rows (600000)")
    parser.add_argument("--change-rows", type=float, default=0.005, help="share of the rows that a night changes (0.005)")
    parser.add_argument("--only", choices=["postgres", "mariadb"], help="one server instead of both")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target/dumps", help="a folder (target/dumps)")
    parser.add_argument("--strongroom", type=pathlib.Path, help="an executable, instead of building one")
    parser.add_argument("--no-install", action="store_true", help="do not install restic")
    parser.add_argument("--seed", type=int, default=1, help="where the made-up data starts (1)")
    parser.add_argument("--keep", action="store_true", help="leave data and repositories behind")
    parser.add_argument("--write", action="store_true", help="also write benches/results/<date>-dumps.md")
    return parser.parse_args()


def main():
    wanted = options()
    wanted.skip = []
    if wanted.rounds < 1 or wanted.rows < 10:
        raise Failure("--rounds must be at least 1, and --rows at least 10")
    kinds, missing = servers.available()
    kinds = [kind for kind in kinds if wanted.only in (None, kind.kind)]
    if not kinds:
        raise Failure("; ".join(missing) or "no server is left")
    with work_folder(wanted.work, wanted.rows * ROW_BYTES * (4 + 4 * wanted.rounds), wanted.keep) as work:
        chosen, lacking = programs.chosen(work, wanted, (programs.Restic,))
        lines = [f"# Two nights of a database server, {datetime.date.today().isoformat()}", "", f"{machine()}.",
                 "; ".join([f"{program.name} {program.version()}" for program in chosen] + lacking + missing) + ".", "",
                 f"{wanted.rows:,} rows as a password manager has them; {WORN:.0%} of them changed once before the first"
                 f" night. Between the nights {wanted.change_rows:.1%} change, scattered, and a tenth as many are added between"
                 f" them. Median of {wanted.rounds} rounds, alternated, each with new repositories. Processor time is that of the"
                 " program and of the clients that dump, not of the server.", ""]
        for kind in kinds:
            with kind(work) as server:
                lines += measure(wanted, server, chosen, work)
            retire(server.folder, work)
        text = "\n".join(lines).rstrip() + "\n"
        print(text, end="", flush=True)
    if wanted.write:
        target = ROOT / "benches/results" / f"{datetime.date.today().isoformat()}-dumps.md"
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)
        say(f"written to {target.relative_to(ROOT)}")


class Taker:
    """A program in one round, and how it is given a server's dump."""

    def __init__(self, program, number, server, dump=None):
        self.program = type(program)(program.work / server.kind / f"{number}-{dump or 'own'}".replace(" ", ""),
                                     program.executable)
        self.name = f"{program.name}, {dump}" if dump else program.name
        self.server, self.dump = server, dump

    def take(self):
        """One backup, and how much the repository grew by it."""
        before = size(self.program.repository)
        backup = [*self.program.common(), "backup"]
        if self.dump:
            command = self.server.dumps()[self.dump]
            sample = self.program.run([*backup, "--stdin", "--stdin-filename", "vault.dump"], writer=command)
        else:
            sample = self.program.run([*backup, self.server.flag(), self.server.url()])
        sample.added = size(self.program.repository) - before
        return sample


def takers(chosen, number, server):
    """Strongroom by itself, every other program by what the server's client writes."""
    own, *others = chosen
    return [Taker(own, number, server)] + [Taker(program, number, server, dump) for program in others
                                           for dump in server.dumps()]


def measure(wanted, server, chosen, work):
    """Two nights of one server, and the memory of a dump that is a tenth as long."""
    tenth = one_tenth(wanted, server, chosen[0], work)
    rows = made(wanted, server, wanted.rows, "vault")
    rounds = [takers(chosen, number, server) for number in range(wanted.rounds)]
    for taker in (taker for round in rounds for taker in round):
        taker.program.start(None)
    first, long = nights(rounds, server, 1), dumped_bytes(server)
    changed, added = server.change(rows, wanted.change_rows, "night")
    say(f"{server.title}: {changed:,} rows changed, {added:,} were added")
    second = nights(rounds, server, 2)
    compare(rounds, server)
    sizes = {taker.name: size(taker.program.repository) for taker in rounds[-1]}
    return [f"## {server.version()}", "", f"The dump is {mib(long)}; {changed:,} rows changed and {added:,} were added.", "",
            *table(first, second, sizes, long), "",
            f"- Strongroom's first night held at most {peak(first):.0f} MiB of anonymous memory, and"
            f" {tenth[1]:.0f} MiB where the dump was {mib(tenth[0])}", ""]


def made(wanted, server, count, database):
    """A database that has been in use: where rows were changed, their old places are free and taken again."""
    rows = servers.Rows(wanted.seed, count)
    server.fill(rows, database)
    server.change(rows, WORN, "before", added=0)
    return rows


def one_tenth(wanted, server, program, work):
    """The length of a dump of a tenth of the rows, and the peak of memory while it is taken."""
    made(wanted, server, wanted.rows // 10, "tenth")
    taker = Taker(program, "tenth", server)
    taker.program.start(None)
    sample = taker.take()
    found = dumped_bytes(server), (sample.anonymous or 0) / MEBIBYTE
    retire(taker.program.folder, work)
    server.sql("DROP DATABASE tenth;", "")
    return found


def nights(rounds, server, night):
    """Every taker of every round once; who goes first changes from round to round."""
    samples = {}
    for number, round in enumerate(rounds):
        turn = number % len(round)
        for taker in round[turn:] + round[:turn]:
            os.sync()
            sample = taker.take()
            samples.setdefault(taker.name, []).append(sample)
            say(f"{server.title}, night {night}, {taker.name}: {sample.wall:.2f} s, {sample.cpu:.2f} s of the processor,"
                f" {mib(sample.added)} added, {mib(sample.anonymous or 0)} held")
    return samples


def dumped_bytes(server):
    """The length of the last of the dumps that the server's own client writes."""
    dump = subprocess.Popen(list(server.dumps().values())[-1], stdout=subprocess.PIPE)
    length = 0
    while piece := dump.stdout.read(MEBIBYTE):
        length += len(piece)
    if dump.wait() != 0:
        raise Failure(f"{server.title} cannot be dumped")
    return length


def compare(rounds, server):
    """What Strongroom stored last is what its snapshot says: every byte is read back."""
    for round in rounds:
        program = round[0].program
        program.run([*program.common(), "check", "--read-data"])
    say(f"{server.title}: Strongroom's repositories are sound")


def peak(samples):
    return max(sample.anonymous or 0 for sample in next(iter(samples.values()))) / MEBIBYTE


def table(first, second, sizes, long):
    heads = ["", "first night, s", "of the processor", "added, MiB", "second night, s", "of the processor", "added, MiB",
             "of the dump", "repository, MiB", "peak anonymous memory, MiB"]
    lines = heading(heads, 1)
    for name in first:
        def median(samples, field):
            return statistics.median(getattr(sample, field) or 0 for sample in samples[name])
        added = median(second, "added")
        held = max(median(first, "anonymous"), median(second, "anonymous"))
        lines.append(row([name, f"{median(first, 'wall'):.2f}", f"{median(first, 'cpu'):.2f}",
                          f"{median(first, 'added') / MEBIBYTE:,.1f}", f"{median(second, 'wall'):.2f}",
                          f"{median(second, 'cpu'):.2f}", f"{added / MEBIBYTE:,.1f}", f"{added / long:.1%}",
                          f"{sizes[name] / MEBIBYTE:,.1f}", f"{held / MEBIBYTE:.0f}"]))
    return lines


if __name__ == "__main__":
    entry(main, "dumps.py")
