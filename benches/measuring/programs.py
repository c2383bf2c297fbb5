"""The programs that are compared: where each is found, and its command for each step."""

import os
import shutil
import subprocess
import sys

from . import process
from .ground import ROOT, Failure, cargo_target, output, retire, run_plainly, say, size

PASSWORD = "only made-up data is behind this\n"


class Program:
    """A backup program with a repository and a cache of its own."""

    name = ""

    def __init__(self, work, executable):
        self.executable, self.work, self.folder = executable, work, work / self.name
        self.repository = self.folder / "repository"
        self.target = self.folder / "restored"
        self.data = None

    def environment(self):
        inherited = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        return inherited | {"HOME": str(self.folder / "home"), "XDG_CACHE_HOME": str(self.folder / "cache"),
                            "TMPDIR": str(self.folder / "tmp")}

    def start(self, data):
        """Begins a round on this data: a new repository, an empty cache."""
        self.data = data
        self.clear()
        for folder in ("home", "cache", "tmp"):
            (self.folder / folder).mkdir(parents=True)
        self.prepare()
        self.run(self.init())

    def clear(self):
        retire(self.folder, self.work)

    def prepare(self):
        """What must lie there before the repository is made."""
        (self.folder / "password").write_text(PASSWORD)

    def measure(self, step):
        if step == "restore":
            self.target.mkdir()
        before = size(self.repository)
        sample = self.run(getattr(self, step)())
        sample.added = size(self.repository) - before
        return sample

    def run(self, command, reader=None, writer=None):
        return process.measured(command, self.environment(), self.folder, reader, writer)

    def said(self):
        """What the last run printed."""
        return self.folder / "log"

    def first(self):
        return [*self.common(), "backup", self.data.folder]

    def unchanged(self):
        return self.first()

    def night(self):
        return self.first()

    def restore(self):
        return [*self.common(), "restore", "latest", "--target", self.target]

    def check(self):
        return [*self.common(), "check", "--read-data"]

    def snapshots(self):
        return [*self.common(), "snapshots"]

    def ls(self):
        return [*self.common(), "ls", "latest"]

    def dump(self, path):
        return [*self.common(), "dump", "latest", path]

    def restored(self):
        """Where a restore has put the data's folder."""
        return self.target / self.data.folder.relative_to("/")


class Strongroom(Program):
    """The program under test, with a key file."""

    name = "Strongroom"

    def version(self):
        return output([self.executable, "--version"])

    def prepare(self):
        """Nothing: `init` writes the key file."""

    def init(self):
        return [self.executable, "init", "--new-key-file", self.folder / "key", "-r", self.repository]

    def common(self):
        return [self.executable, "-r", self.repository, "--key-file", self.folder / "key"]

    def first(self):
        kind = ["--vaultwarden"] if self.data.vaultwarden else []
        return [*self.common(), "backup", *kind, self.data.folder]

    def restored(self):
        return self.target if self.data.vaultwarden else super().restored()


class Restic(Program):
    """restic with its defaults and a password file."""

    name = "restic"

    @staticmethod
    def find(wanted):
        """From the search path, or installed where that is possible; None if there is none."""
        found = shutil.which("restic")
        if not found and not wanted.no_install and os.geteuid() == 0 and shutil.which("apt-get"):
            say("installing restic with apt-get")
            subprocess.run(["apt-get", "install", "-y", "-qq", "restic"], stdout=sys.stderr, check=False)
            found = shutil.which("restic")
        return found

    def version(self):
        return " ".join(output([self.executable, "version"]).split()[:2])

    def init(self):
        return [*self.common(), "init"]

    def common(self):
        return [self.executable, "-r", self.repository, "--password-file", self.folder / "password"]


class Rustic(Program):
    """rustic with its defaults and a password file; it writes restic's format."""

    name = "rustic"

    @staticmethod
    def find(wanted):
        """From the search path or the tools folder, or built into that folder; None if there is none."""
        built = wanted.tools.resolve() / "bin/rustic"
        found = shutil.which("rustic") or shutil.which(built)
        if found or wanted.no_install:
            return found
        say(f"building rustic into {wanted.tools}; this takes some minutes")
        try:
            run_plainly(["cargo", "install", "rustic-rs", "--locked", "--root", wanted.tools.resolve()])
        except Failure as failure:
            say(f"rustic cannot be built: {failure}")
        return shutil.which(built)

    def version(self):
        return output([self.executable, "--version"])

    def init(self):
        return [*self.common(), "init"]

    def common(self):
        return [self.executable, "--no-progress", "-r", self.repository, "--password-file", self.folder / "password",
                "--cache-dir", self.folder / "cache"]

    def restore(self):
        return [*self.common(), "restore", "latest", self.target]

    def dump(self, path):
        return [*self.common(), "dump", f"latest:{path}"]


def strongroom(given):
    """The executable named by the user, or the one that cargo builds from these sources."""
    if given:
        found = shutil.which(given.resolve())
        if not found:
            raise Failure(f"--strongroom {given}: there is no executable of this name")
        return found
    say("building")
    run_plainly(["cargo", "build", "--release"])
    return cargo_target() / "release/strongroom"


def chosen(work, wanted, kinds):
    """Strongroom and, of the other kinds, those that are there; and in words, what is not there and why."""
    programs, missing = [Strongroom(work, strongroom(wanted.strongroom))], []
    for kind in kinds:
        if kind.name in wanted.skip:
            missing.append(f"{kind.name} is left out (--skip)")
        elif executable := kind.find(wanted):
            programs.append(kind(work, executable))
        else:
            missing.append(f"{kind.name} is missing: it is not measured")
    for line in missing:
        say(line)
    return programs, missing


def default_tools():
    """Where rustic is built; it outlives the work folder, for building takes long."""
    return ROOT / "target/bench-tools"
