#!/usr/bin/env python3
"""Runs Strongroom and restic side by side on the same data and prints a Markdown table.

benches/README.md says how to run it and what is measured. Needs only Python's standard library, cargo, and restic.
"""

import argparse
import contextlib
import dataclasses
import datetime
import hashlib
import os
import pathlib
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATABASE = "db.sqlite3"
STEPS = {
    "first": "first backup",
    "unchanged": "backup, nothing changed",
    "night": "backup, a night later",
    "restore": "restore",
    "check": "check, all data read",
}
MEBIBYTE = 1 << 20


@dataclasses.dataclass
class Sample:
    """One program run once: what it took, and how much its repository grew."""

    wall: float
    cpu: float
    memory: int
    added: int


class Failure(Exception):
    """What stops the comparison, in words for whoever started it."""


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is repeated (3)")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target/side-by-side",
                        help="a folder for data and repositories (target/side-by-side)")
    parser.add_argument("--attachments", type=int, default=1500, help="number of attachments (1500)")
    parser.add_argument("--attachment-bytes", type=int, default=1_500_000_000, help="their size together (1.5 GB)")
    parser.add_argument("--database-bytes", type=int, default=280_000_000, help="size of the database (280 MB)")
    parser.add_argument("--change-pages", type=float, default=0.06, help="share of pages a night changes (0.06)")
    parser.add_argument("--seed", type=int, default=1, help="where the made-up data starts (1)")
    parser.add_argument("--cold", action="store_true", help="empty the page cache before each step (needs root)")
    parser.add_argument("--keep", action="store_true", help="leave data and repositories behind")
    parser.add_argument("--write", action="store_true", help="also write benches/results/<date>.md")
    return parser.parse_args()


def main():
    wanted = options()
    if wanted.rounds < 1:
        raise Failure("--rounds must be at least 1")
    if wanted.cold and os.geteuid() != 0:
        raise Failure("--cold empties the page cache, which needs root")
    work = wanted.work.resolve()
    if work.exists() and any(work.iterdir()):
        raise Failure(f"{work} is not empty; remove it, or name another folder with --work")
    work.mkdir(parents=True, exist_ok=True)
    try:
        room(work, 6 * (wanted.attachment_bytes + wanted.database_bytes))
        report = compare(wanted, work)
    finally:
        if not wanted.keep:
            shutil.rmtree(work, ignore_errors=True)
    print(report)
    if wanted.write:
        results = ROOT / "benches/results"
        results.mkdir(exist_ok=True)
        target = results / f"{datetime.date.today().isoformat()}.md"
        target.write_text(report)
        say(f"written to {target.relative_to(ROOT)}")


def compare(wanted, work):
    say("building")
    run_plainly(["cargo", "build", "--release"])
    say("making the data")
    data = work / "data"
    generate(data, "--database-bytes", wanted.database_bytes, "--attachments", wanted.attachments,
             "--attachment-bytes", wanted.attachment_bytes, "--seed", wanted.seed)
    # Strongroom leaves these out of a Vaultwarden; both programs are to store the same.
    for left_out in ("icon_cache", "tmp"):
        shutil.rmtree(data / left_out, ignore_errors=True)
    database = data / DATABASE
    pristine = work / DATABASE
    shutil.copy2(database, pristine)
    facts = {"files": sum(1 for _ in files(data)), "bytes": size(data), "database": database.stat().st_size}

    programs = [Strongroom(work, data)]
    restic = find_restic()
    if restic:
        programs.append(Restic(work, data, restic))
    else:
        say("restic is missing: only Strongroom is measured")
    samples = {(program.name, step): [] for program in programs for step in STEPS}

    def each(step, number):
        # Who goes first alternates, so that neither always finds what the other has warmed up or worn out.
        for program in programs if number % 2 else programs[::-1]:
            reads = program.repository if step in ("restore", "check") else data
            level_ground(reads, wanted.cold)
            sample = program.measure(step)
            samples[program.name, step].append(sample)
            say(f"round {number}: {program.name}, {STEPS[step]}: {sample.wall:.2f} s")

    for number in range(1, wanted.rounds + 1):
        if number > 1:
            shutil.copy2(pristine, database)
        for program in programs:
            program.start()
        each("first", number)
        each("unchanged", number)
        generate(data, "--change-pages", wanted.change_pages, "--seed", wanted.seed + number)
        if number == 1:
            facts.update(night_facts(pristine, database))
        each("night", number)
        each("restore", number)
        if number == 1:
            for program in programs:
                compare_trees(data, program.restored(), work / "compare")
                say(f"{program.name}: what was restored equals what was backed up")
        each("check", number)
    return written(wanted, facts, programs, samples)


class Program:
    """A backup program with a repository and a cache of its own."""

    def __init__(self, name, work, data):
        self.name, self.data, self.folder = name, data, work / name
        self.repository = self.folder / "repository"
        self.target = self.folder / "restored"

    def environment(self):
        inherited = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        return inherited | {"HOME": str(self.folder / "home"), "XDG_CACHE_HOME": str(self.folder / "cache"),
                            "TMPDIR": str(self.folder / "tmp")}

    def start(self):
        """Begins a round: a new repository, an empty cache."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in ("home", "cache", "tmp"):
            (self.folder / folder).mkdir(parents=True)
        self.run(self.init())

    def measure(self, step):
        if step == "restore":
            shutil.rmtree(self.target, ignore_errors=True)
            self.target.mkdir()
        before = size(self.repository)
        sample = self.run(getattr(self, step)())
        sample.added = size(self.repository) - before
        return sample

    def run(self, command):
        command = [str(word) for word in command]
        with open(self.folder / "log", "wb") as log:
            started = time.monotonic()
            process = subprocess.Popen(command, env=self.environment(), cwd=self.folder,
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            _, status, used = os.wait4(process.pid, 0)
            wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            said = (self.folder / "log").read_text(errors="replace")[-2000:]
            raise Failure(f"{' '.join(command)}\nended with {process.returncode}:\n{said}")
        unit = 1 if sys.platform == "darwin" else 1024
        return Sample(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * unit, 0)

    def unchanged(self):
        return self.first()

    def night(self):
        return self.first()


class Strongroom(Program):
    """The program under test, with a key file."""

    def __init__(self, work, data):
        super().__init__("Strongroom", work, data)
        self.executable = ROOT / "target/release/strongroom"
        self.key = self.folder / "key"

    def version(self):
        return output([self.executable, "--version"])

    def init(self):
        return [self.executable, "init", "--new-key-file", self.key, "-r", self.repository]

    def common(self):
        return [self.executable, "-r", self.repository, "--key-file", self.key]

    def first(self):
        return [*self.common(), "backup", "--vaultwarden", self.data]

    def restore(self):
        return [*self.common(), "restore", "latest", "--target", self.target]

    def check(self):
        return [*self.common(), "check", "--read-data"]

    def restored(self):
        return self.target


class Restic(Program):
    """restic with its defaults and a password file."""

    def __init__(self, work, data, executable):
        super().__init__("restic", work, data)
        self.executable = executable

    def version(self):
        return " ".join(output([self.executable, "version"]).split()[:2])

    def environment(self):
        return super().environment() | {"RESTIC_PASSWORD_FILE": str(self.folder / "password")}

    def init(self):
        (self.folder / "password").write_text("only made-up data is behind this\n")
        return [*self.common(), "init"]

    def common(self):
        return [self.executable, "-r", self.repository]

    def first(self):
        return [*self.common(), "backup", self.data]

    def restore(self):
        return [*self.common(), "restore", "latest", "--target", self.target]

    def check(self):
        return [*self.common(), "check", "--read-data"]

    def restored(self):
        return self.target / self.data.relative_to("/")


def find_restic():
    found = shutil.which("restic")
    if not found and os.geteuid() == 0 and shutil.which("apt-get"):
        say("installing restic")
        subprocess.run(["apt-get", "install", "-y", "-qq", "restic"], stdout=subprocess.DEVNULL, check=False)
        found = shutil.which("restic")
    return found


def generate(folder, *arguments):
    run_plainly(["cargo", "run", "--quiet", "--release", "--example", "generate", "--", "--folder", folder, *arguments])
    log = folder / f"{DATABASE}-wal"
    if log.exists() and log.stat().st_size:
        # Pages are compared file by file below, and a log left behind would be backed up by restic only.
        with contextlib.closing(sqlite3.connect(folder / DATABASE)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def level_ground(folder, cold):
    """Brings the page cache into the same state for whoever comes next: empty, or holding what is to be read."""
    os.sync()
    if cold:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")
        return
    for path in files(folder):
        with open(path, "rb") as file:
            while file.read(MEBIBYTE):
                pass


def night_facts(before, after):
    """How many pages of the database a night has changed, and what they and the whole database compress to."""
    with open(after, "rb") as file:
        length = int.from_bytes(file.read(100)[16:18], "big")
    length = 65536 if length == 1 else length
    whole, changed = Compressor(), Compressor()
    pages = touched = 0
    with open(before, "rb") as old, open(after, "rb") as new:
        while page := new.read(length):
            pages += 1
            whole.feed(page)
            if old.read(length) != page:
                touched += 1
                changed.feed(page)
    return {"pages": pages, "touched": touched, "whole": whole.finish(), "changed": changed.finish()}


class Compressor:
    """Counts what `zstd -3` makes of bytes; knows nothing where there is no zstd."""

    def __init__(self):
        self.process = None
        if shutil.which("zstd"):
            # Its output is counted by a second process, so that neither pipe can fill up.
            self.process = subprocess.Popen("zstd -q -3 -c | wc -c", shell=True, stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE)

    def feed(self, data):
        if self.process:
            self.process.stdin.write(data)

    def finish(self):
        return int(self.process.communicate()[0]) if self.process else None


def compare_trees(source, restored, scratch):
    """Every file byte for byte; the database, which Strongroom takes through SQLite, row for row."""
    logs = {f"{DATABASE}{ending}" for ending in ("-wal", "-shm", "-journal")}
    trees = [{path.relative_to(root): path for path in files(root) if path.name not in logs}
             for root in (source, restored)]
    if trees[0].keys() != trees[1].keys():
        differing = sorted(map(str, trees[0].keys() ^ trees[1].keys()))
        raise Failure(f"restored files are not those backed up: {differing[:5]}")
    for name, path in trees[0].items():
        if digest(path) == digest(trees[1][name]):
            continue
        if name != pathlib.Path(DATABASE) or rows(path, scratch) != rows(trees[1][name], scratch):
            raise Failure(f"{name} was restored with another content")


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rows(database, scratch):
    """A hash over everything in a database; a copy is read, for reading can leave files beside it."""
    scratch.mkdir(exist_ok=True)
    for ending in ("", "-wal"):
        if (beside := database.with_name(database.name + ending)).exists():
            shutil.copyfile(beside, scratch / f"copy{ending}")
    found = hashlib.sha256()
    with contextlib.closing(sqlite3.connect(scratch / "copy")) as connection:
        if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise Failure(f"{database.name} does not pass its check")
        schema = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
        found.update(repr(schema).encode())
        for name in (name for kind, name, _ in schema if kind == "table"):
            quoted = name.replace('"', '""')
            for row in connection.execute(f'SELECT * FROM "{quoted}"'):
                found.update(repr(row).encode())
    shutil.rmtree(scratch)
    return found.digest()


def written(wanted, facts, programs, samples):
    """The report, in Markdown."""
    cache = "emptied before each step" if wanted.cold else "holding what each step reads"
    lines = [
        f"# Side by side, {datetime.date.today().isoformat()}",
        "",
        f"- Programs: {'; '.join(program.version() for program in programs)}",
        f"- Machine: {machine()}",
        f"- Data: {facts['files']} files, {mib(facts['bytes'])}, of which the database {mib(facts['database'])}",
        f"- Night: {facts['touched']} of {facts['pages']} pages of the database changed"
        f" ({facts['touched'] / facts['pages']:.1%})",
        f"- Rounds: {wanted.rounds}; seed {wanted.seed}; page cache {cache}",
    ]
    if facts["whole"]:
        lines.append(f"- By `zstd -3` the database compresses to {mib(facts['whole'])}, the pages that changed to"
                     f" {mib(facts['changed'])}")
    else:
        lines.append("- What the database compresses to is not known: there is no `zstd` here")
    lines += ["", "Median of the rounds, with the least and the most.", ""]
    names = [program.name for program in programs]
    header = ["step", "measure", *names] + ([f"{names[0]} / {names[1]}"] if len(names) > 1 else [])
    lines += [row(header), row(["---"] * 2 + ["---:"] * (len(header) - 2))]
    measures = {
        "wall, s": (lambda sample: sample.wall, "{:.2f}"),
        "user + system, s": (lambda sample: sample.cpu, "{:.2f}"),
        "peak memory, MiB": (lambda sample: sample.memory / MEBIBYTE, "{:.0f}"),
        "added, MiB": (lambda sample: sample.added / MEBIBYTE, "{:.2f}"),
    }
    for step, title in STEPS.items():
        for measure, (value, form) in measures.items():
            if measure.startswith("added") and step in ("restore", "check"):
                continue
            lists = [[value(sample) for sample in samples[name, step]] for name in names]
            cells = [f"{form.format(statistics.median(found))} ({form.format(min(found))}-{form.format(max(found))})"
                     for found in lists]
            if len(names) > 1:
                medians = [statistics.median(found) for found in lists]
                cells.append(f"{medians[0] / medians[1]:.2f}" if medians[1] else "-")
            lines.append(row([title, measure, *cells]))
    lines.append("")
    for name in names:
        added = statistics.median(sample.added for sample in samples[name, "night"])
        shares = [f"{added / facts['database']:.1%} of the database"]
        if facts["whole"]:
            shares.append(f"{added / facts['whole']:.1%} of what it compresses to")
        lines.append(f"- {name}: a night adds {mib(added)}: {', '.join(shares)}")
    return "\n".join(lines) + "\n"


def row(cells):
    return f"| {' | '.join(cells)} |"


def machine():
    """Processor, memory and system, without anything that names this one machine."""
    model = platform.machine()
    with contextlib.suppress(OSError):
        names = [line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    kernel = f"{platform.system()} {platform.release().split('-')[0]}"
    return f"{model}, {os.cpu_count()} threads, {memory / (1 << 30):.0f} GiB memory, {kernel}"


def files(root):
    for folder, _, names in os.walk(root):
        for name in names:
            yield pathlib.Path(folder) / name


def size(root):
    return sum(path.lstat().st_size for path in files(root))


def mib(count):
    return f"{count / MEBIBYTE:.1f} MiB"


def room(work, needed):
    free = shutil.disk_usage(work).free
    if free < needed:
        raise Failure(f"{mib(needed)} are needed in {work}, {mib(free)} are free; name another folder with --work")


def output(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def run_plainly(command):
    try:
        done = subprocess.run([str(word) for word in command], cwd=ROOT, stdout=sys.stderr, check=False)
    except FileNotFoundError:
        raise Failure(f"{command[0]} is missing") from None
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}\nended with {done.returncode}")


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    if sys.version_info < (3, 11):
        sys.exit("side_by_side.py: needs Python 3.11 or later")
    try:
        main()
    except Failure as failure:
        sys.exit(f"side_by_side.py: {failure}")
