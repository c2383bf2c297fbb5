#!/usr/bin/env python3
"""Measures a month: every night a Vaultwarden folder changes and is backed up, old nights are forgotten and pruned.

benches/README.md says how to run it and what is measured. Needs only Python's standard library and cargo; restic
is taken where it is.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics

from measuring import data, programs
from measuring.compare import compare_trees
from measuring.ground import ROOT, Failure, entry, heading, machine, mib, retire, row, say, size, work_folder

KEEP = ["--keep-daily", "7", "--keep-weekly", "4"]


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=30, help="number of nights (30)")
    parser.add_argument("--attachments", type=int, default=500, help="number of attachments at first (500)")
    parser.add_argument("--attachment-bytes", type=int, default=250_000_000, help="their size together (250 MB)")
    parser.add_argument("--database-bytes", type=int, default=280_000_000, help="size of the database (280 MB)")
    parser.add_argument("--change-pages", type=float, default=0.06, help="share of pages a night changes (0.06)")
    parser.add_argument("--new-attachments", type=int, default=5, help="attachments added each night (5)")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target/nights", help="a folder (target/nights)")
    parser.add_argument("--strongroom", type=pathlib.Path, help="an executable, instead of building one")
    parser.add_argument("--generator", type=pathlib.Path, help="an executable of examples/generate")
    parser.add_argument("--no-install", action="store_true", help="do not install restic")
    parser.add_argument("--seed", type=int, default=1, help="where the made-up data starts (1)")
    parser.add_argument("--keep", action="store_true", help="leave data and repositories behind")
    parser.add_argument("--write", action="store_true", help="also write benches/results/<date>-nights.md")
    return parser.parse_args()


def main():
    wanted = options()
    wanted.skip = []
    if wanted.nights < 2:
        raise Failure("--nights must be at least 2")
    room = 12 * (wanted.attachment_bytes + wanted.database_bytes)
    with work_folder(wanted.work, room, wanted.keep) as work:
        participants, missing = programs.chosen(work, wanted, (programs.Restic,))
        vault = data.Vault(wanted, work)
        vault.make()
        vault.begin(1)
        for program in participants:
            program.start(vault)
        taken = {(program.name, step): [] for program in participants for step in ("backup", "prune")}
        today = datetime.datetime.now().replace(microsecond=0) - datetime.timedelta(minutes=5)
        for night in range(wanted.nights):
            if night:
                change(vault, night)
            date = today - datetime.timedelta(days=wanted.nights - 1 - night)
            order = participants[night % len(participants):] + participants[:night % len(participants)]
            for program in order:
                os.sync()
                taken[program.name, "backup"].append(program.run(backup(program, date)))
                os.sync()
                taken[program.name, "prune"].append(program.run(forget(program)))
            walls = ", ".join(f"{program.name} {taken[program.name, 'backup'][-1].wall:.2f} +"
                              f" {taken[program.name, 'prune'][-1].wall:.2f} s" for program in participants)
            say(f"night {night + 1} of {wanted.nights}: {walls}")
        text = report(wanted, vault, participants, missing, taken, work)
        print(text, end="", flush=True)
    if wanted.write:
        target = ROOT / "benches/results" / f"{datetime.date.today().isoformat()}-nights.md"
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)
        say(f"written to {target.relative_to(ROOT)}")


def change(vault, night):
    """What a day does: pages of the database, some new attachments, one that goes."""
    wanted = vault.wanted
    vault.generate("--change-pages", wanted.change_pages, "--seed", wanted.seed + night)
    folder = vault.folder / "attachments" / f"night-{night}"
    folder.mkdir(parents=True, exist_ok=True)
    each = wanted.attachment_bytes // wanted.attachments
    for number in range(wanted.new_attachments):
        (folder / str(number)).write_bytes(os.urandom(each))
    if night > 3:
        (vault.folder / "attachments" / f"night-{night - 3}" / "0").unlink(missing_ok=True)


def backup(program, date):
    return [*program.common(), "backup", "--time", date.strftime("%Y-%m-%d %H:%M:%S"), program.data.folder]


def forget(program):
    return [*program.common(), "forget", *KEEP, "--prune"]


def report(wanted, vault, participants, missing, taken, work):
    """The tables, once what every program keeps was compared and stored afresh."""
    lines = [f"# A month, {datetime.date.today().isoformat()}", "", *machine_lines(participants, missing), ""]
    lines += [f"{wanted.nights} nights of a Vaultwarden folder: a database of {mib(wanted.database_bytes)}, of which"
              f" {wanted.change_pages:.0%} of the pages change each night, and {wanted.attachments} attachments"
              f" ({mib(wanted.attachment_bytes)}), {wanted.new_attachments} more each night and one less. Each night:"
              " a backup, then `forget --keep-daily 7 --keep-weekly 4 --prune`. Both programs store the folder as"
              " plain files are stored; Strongroom takes the database through SQLite all the same.", ""]
    heads = ["", "backup, median s", "forget and prune, median s", "all nights, s", "snapshots kept", "at the end, MiB",
             "written afresh, MiB", "larger by"]
    lines += heading(heads, 1)
    for program in participants:
        walls = {step: [sample.wall for sample in taken[program.name, step]] for step in ("backup", "prune")}
        kept = snapshots(program)
        end, fresh = size(program.repository), afresh(program, kept, vault, work)
        lines.append(row([
            program.name, f"{statistics.median(walls['backup']):.2f}", f"{statistics.median(walls['prune']):.2f}",
            f"{sum(walls['backup']) + sum(walls['prune']):.1f}", str(len(kept)), f"{end / 2**20:,.1f}",
            f"{fresh / 2**20:,.1f}", f"{end / fresh - 1:.1%}",
        ]))
    return "\n".join(lines) + "\n"


def machine_lines(participants, missing):
    found = [f"{program.name} {program.version()}" for program in participants]
    return [f"{machine()}.", "; ".join(found + missing) + "."]


def snapshots(program):
    """The ids of what is kept, oldest first."""
    program.run([*program.common(), "snapshots", "--json"])
    text = program.said().read_text()
    if text.lstrip().startswith("["):
        found = json.loads(text)
    else:
        found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        found = [item for item in found if item.get("message_type") == "snapshot"]
    return [item["id"] for item in sorted(found, key=lambda item: item["time"])]


def afresh(program, kept, vault, work):
    """Bytes of a new repository that holds the kept snapshots and nothing else: each is restored and backed up."""
    fresh = type(program)(work / "fresh", program.executable)
    fresh.start(vault)
    last = None
    for number, snapshot in enumerate(kept):
        target = work / "fresh" / program.name / "restored"
        program.run([*program.common(), "restore", snapshot, "--target", target])
        found = target / vault.folder.relative_to("/")
        fresh.run([*fresh.common(), "backup", found])
        last = found
        if number + 1 == len(kept):
            compare_trees(vault.folder, found, work / "compare")
            say(f"what {program.name} restored of the last night equals what was backed up")
        retire(target, work)
    if last is None:
        raise Failure(f"{program.name} kept no snapshot")
    return size(fresh.repository)


if __name__ == "__main__":
    entry(main, "nights.py")
