"""The two data sets of the comparison: a made-up Vaultwarden folder, and source files by the ten thousands."""

import contextlib
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess

from .ground import Failure, cargo_target, files, mib, run_plainly, say, size

DATABASE = "db.sqlite3"
BACKUPS = {"first": "first backup", "unchanged": "nothing changed", "night": "a night later"}
READING = {"restore": "restore", "check": "check, all data read"}


class Vault:
    """A Vaultwarden folder: attachments that neither compress nor repeat, and a database that a night changes."""

    name, title, vaultwarden = "vault", "A Vaultwarden folder", True
    steps = BACKUPS | READING

    def __init__(self, wanted, work):
        self.wanted, self.folder = wanted, work / "vault"
        self.database, self.pristine = self.folder / DATABASE, work / DATABASE
        self.generator = generator(wanted.generator)
        self.night_facts = None

    def make(self):
        say("making the vault")
        wanted = self.wanted
        self.generate("--database-bytes", wanted.database_bytes, "--attachments", wanted.attachments,
                      "--attachment-bytes", wanted.attachment_bytes, "--seed", wanted.seed)
        # Strongroom leaves these out of a Vaultwarden; all programs are to store the same.
        for left_out in ("icon_cache", "tmp"):
            shutil.rmtree(self.folder / left_out, ignore_errors=True)
        shutil.copy2(self.database, self.pristine)
        self.count, self.bytes = sum(1 for _ in files(self.folder)), size(self.folder)

    def begin(self, number):
        """Brings the data into the state in which a round begins."""
        if number > 1:
            shutil.copy2(self.pristine, self.database)

    def before(self, step, number):
        """What happens to the data before a step."""
        if step != "night":
            return
        self.generate("--change-pages", self.wanted.change_pages, "--seed", self.wanted.seed + number)
        if number == 1:
            self.night_facts = night_facts(self.pristine, self.database)

    def generate(self, *arguments):
        run_plainly([*self.generator, "--folder", self.folder, *arguments])
        log = self.folder / f"{DATABASE}-wal"
        if log.exists() and log.stat().st_size:
            # A log left behind would be backed up by the others only.
            with contextlib.closing(sqlite3.connect(self.database)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def facts(self):
        """What the data is, as lines of the report."""
        night = self.night_facts
        lines = [
            f"{self.count:,} files, {mib(self.bytes)}, of which the database {mib(self.pristine.stat().st_size)}",
            f"Night: {night['touched']:,} of the database's {night['pages']:,} pages changed"
            f" ({night['touched'] / night['pages']:.1%})",
        ]
        if night["whole"]:
            lines.append(f"By `zstd -3` the database compresses to {mib(night['whole'])}, the pages that changed to"
                         f" {mib(night['changed'])}")
        else:
            lines.append("What the database compresses to is not known: there is no `zstd` here")
        return lines

    def remarks(self, added):
        """What a night adds (in bytes, by program) as shares of the database, as lines of the report."""
        database, whole = self.pristine.stat().st_size, self.night_facts["whole"]
        for name, count in added("night").items():
            share = f", {count / whole:.1%} of what it compresses to" if whole else ""
            yield f"{name}: a night adds {mib(count)}: {count / database:.1%} of the database{share}"


class Sources:
    """Source files of the local cargo registry; where there are too few, copied again and made to differ."""

    name, title, vaultwarden = "sources", "Source files", False
    steps = {step: title for step, title in (BACKUPS | READING).items() if step != "night"}

    def __init__(self, wanted, work):
        self.wanted, self.folder = wanted, work / "sources"
        self.copies = 0

    def make(self):
        say("copying the sources")
        origin = self.wanted.sources.expanduser()
        found = sorted(path for path in files(origin) if path.is_file() and not path.is_symlink())
        if not found:
            raise Failure(f"no source files in {origin}; `cargo fetch` brings some, or name a folder with --sources")
        chance = random.Random(self.wanted.seed)
        self.count, self.available = 0, len(found)
        while self.count < self.wanted.source_files:
            self.copies += 1
            for path in found[:self.wanted.source_files - self.count]:
                target = self.folder / str(self.copies) / path.relative_to(origin)
                copy(path, target, chance if self.copies > 1 else None)
                self.count += 1
        self.bytes = size(self.folder)

    def begin(self, number):
        """Nothing: the sources stay as they are."""

    def before(self, step, number):
        """Nothing: no step changes them."""

    def facts(self):
        lines = [f"{self.count:,} files, {mib(self.bytes)}, from the local cargo registry"]
        if self.copies > 1:
            lines.append(f"The registry has {self.available:,} files; they were copied {self.copies} times (the last"
                         " time as many as were missing), each copy in a folder of its own; from the second on every"
                         " file starts with a line of its own, so that it equals no other")
        return lines

    def remarks(self, _added):
        return []


def copy(origin, target, chance):
    """Copies a file; with a source of chance it gets a first line that no other has."""
    target.parent.mkdir(parents=True, exist_ok=True)
    content = origin.read_bytes()
    if chance:
        content = f"// {chance.getrandbits(128):032x}\n".encode() + content
    target.write_bytes(content)


def generator(given):
    """The command that makes vaults: the executable named by the user, or built from these sources."""
    if not given:
        run_plainly(["cargo", "build", "--quiet", "--release", "--example", "generate"])
        return [cargo_target() / "release/examples/generate"]
    if not shutil.which(given.resolve()):
        raise Failure(f"--generator {given}: there is no executable of this name")
    return [given.resolve()]


def default_sources():
    """Where cargo keeps the sources of what it has built."""
    return pathlib.Path(os.environ.get("CARGO_HOME") or "~/.cargo") / "registry/src"


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
