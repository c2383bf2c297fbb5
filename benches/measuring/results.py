"""What a data set's rounds have yielded, and how it stands to the targets."""

import dataclasses
import statistics

from .data import BACKUPS
from .ground import MEBIBYTE

# Targets that are ratios are ratios to this program.
PEER = "restic"
MEMORY_MEBIBYTES = 256
REPOSITORY = "repository"


@dataclasses.dataclass(frozen=True)
class Measure:
    """One thing that is measured of every run; `of` gives None where the system does not tell."""

    title: str
    form: str
    of: object
    steps: tuple | None = None


MEASURES = {
    "wall": Measure("wall, s", "{:.2f}", lambda sample: sample.wall),
    "cpu": Measure("user + system, s", "{:.2f}", lambda sample: sample.cpu),
    "resident": Measure("peak resident memory, MiB", "{:.0f}", lambda sample: sample.resident / MEBIBYTE),
    "anonymous": Measure("peak anonymous memory, MiB", "{:.0f}",
                         lambda sample: None if sample.anonymous is None else sample.anonymous / MEBIBYTE),
    "added": Measure("added, MiB", "{:,.2f}", lambda sample: sample.added / MEBIBYTE, tuple(BACKUPS)),
}


@dataclasses.dataclass(frozen=True)
class Target:
    """The most that a median of Strongroom may be: a number, or a share of what restic needs."""

    most: float
    unit: str = ""

    def verdict(self, ours, theirs):
        """The target and whether it is met, in words; None in place of a verdict where it cannot be judged."""
        if not self.unit:
            text = f"≤ {self.most} × {PEER}"
            return text, None if ours is None or not theirs else ours <= self.most * theirs
        return f"≤ {self.most} {self.unit}", None if ours is None else ours <= self.most


TARGETS = {
    "vault": {
        ("first", "wall"): Target(0.25),
        ("unchanged", "wall"): Target(0.12, "s"),
        ("night", "wall"): Target(0.3),
        ("restore", "wall"): Target(0.25),
        ("check", "wall"): Target(0.2),
    },
    "sources": {
        ("first", "wall"): Target(0.4),
        ("unchanged", "wall"): Target(0.2),
        ("restore", "wall"): Target(0.4),
        (REPOSITORY, "size"): Target(1.0),
    },
}


def target_of(name, step, measure):
    """The target for a measure of a step; the one for memory is the same everywhere."""
    if measure == "anonymous":
        return Target(MEMORY_MEBIBYTES, "MiB")
    return TARGETS[name].get((step, measure))


@dataclasses.dataclass
class Bound:
    """What the disk alone takes for a step: seconds and bytes of reading and of writing, where there is any."""

    read: float = 0
    read_bytes: int = 0
    write: float = 0
    write_bytes: int = 0


class Result:
    """Everything measured with one data set."""

    def __init__(self, data, programs):
        self.data = data
        self.names = [program.name for program in programs]
        self.samples = {(name, step): [] for name in self.names for step in data.steps}
        self.repositories = {name: [] for name in self.names}
        self.openings = {name: [] for name in self.names}
        self.bounds = {step: [] for step in data.steps}

    def values(self, name, step, measure):
        """One measure of one step in every round; empty where the system did not tell."""
        if step == REPOSITORY:
            return [count / MEBIBYTE for count in self.repositories[name]]
        found = [MEASURES[measure].of(sample) for sample in self.samples[name, step]]
        return [value for value in found if value is not None]

    def median(self, name, step, measure):
        """The median of the rounds; None where there is nothing to take it of."""
        found = self.values(name, step, measure) if name in self.names else []
        return statistics.median(found) if found else None

    def added(self, step):
        """The median of the bytes that a step adds, by program."""
        return {name: self.median(name, step, "added") * MEBIBYTE for name in self.names}

    def largest(self, name, measure):
        """The largest of the medians of all steps; None where there are none."""
        found = [self.median(name, step, measure) for step in self.data.steps]
        return max((value for value in found if value is not None), default=None)

    def rows(self):
        """Every line of the table: step, measure, its title, its form."""
        for step in self.data.steps:
            for key, measure in MEASURES.items():
                if measure.steps is None or step in measure.steps:
                    yield step, key, measure.title, measure.form
        yield REPOSITORY, "size", "size, MiB", "{:,.1f}"

    def verdict(self, step, measure):
        """The target for a measure of a step, and whether it is met; None if there is no target."""
        target = target_of(self.data.name, step, measure)
        if not target:
            return None
        return target.verdict(self.median(self.names[0], step, measure), self.median(PEER, step, measure))
