"""Runs one program once and says what it took: time, processor time, and memory."""

import contextlib
import dataclasses
import os
import pathlib
import resource
import select
import subprocess
import sys
import time

from .ground import Failure

# Close together at first, to see what a run of a tenth of a second held; later so that looking costs next to nothing.
EARLY_MILLISECONDS, EARLY_LOOKS = 2, 50
INTERVAL_MILLISECONDS = 10
# A process that is gone after fewer looks than this has not been seen.
FEWEST_LOOKS = 3


@dataclasses.dataclass
class Sample:
    """One run. Times in seconds, everything else in bytes; `anonymous` is None where the system does not tell."""

    wall: float
    cpu: float
    resident: int
    anonymous: int | None
    added: int = 0


def measured(command, environment, folder, reader=None, writer=None):
    """Runs a command to its end, its output in a log, or read by another program that must like it.

    Its standard input is empty, or what another program writes, whose processor time then counts as well.
    """
    command = list(map(str, command))
    log_path = folder / "log"
    with open(log_path, "wb") as log, contextlib.ExitStack() as stack:
        out = log
        if reader:
            reader = stack.enter_context(
                subprocess.Popen(list(map(str, reader)), stdin=subprocess.PIPE, stdout=log, stderr=log))
            out = reader.stdin
        before = children()
        started = time.monotonic()
        if writer:
            writer = stack.enter_context(subprocess.Popen(list(map(str, writer)), stdin=subprocess.DEVNULL,
                                                          stdout=subprocess.PIPE, stderr=log))
        process = subprocess.Popen(command, env=environment, cwd=folder,
                                   stdin=writer.stdout if writer else subprocess.DEVNULL, stdout=out, stderr=log)
        if reader:
            reader.stdin.close()
        if writer:
            writer.stdout.close()
        resident, anonymous = watched(process.pid)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = log_path.read_text(errors="replace")[-2000:]
        raise Failure(f"{' '.join(command)}\nended with {process.returncode}:\n{said}")
    if reader and reader.returncode != 0:
        raise Failure(f"{' '.join(command)}\nwrote something else than what was backed up")
    if writer and writer.returncode != 0:
        raise Failure(f"what was to be read by {' '.join(command)}\nended with {writer.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    # A process starts with the peak of the one that started it: below this script's own the number is only a bound.
    if not resident or used.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
        resident = used.ru_maxrss * unit
    cpu = children() - before if writer else used.ru_utime + used.ru_stime
    return Sample(wall, cpu, resident, anonymous)


def children():
    """Processor time of all that this script has started and that has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def watched(pid):
    """Looks at a process until it ends: its peak resident size and its largest anonymous memory; 0 and None if unknown.

    Linux keeps no peak of anonymous memory, so it is looked up again and again; a peak that is shorter than the
    interval can be missed.
    """
    status = pathlib.Path(f"/proc/{pid}/status")
    if not hasattr(os, "pidfd_open") or not status.exists():
        return 0, None
    resident = anonymous = looks = 0
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not poll.poll(EARLY_MILLISECONDS if looks < EARLY_LOOKS else INTERVAL_MILLISECONDS):
            looks += 1
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if line.endswith(" kB"))
            resident = max(resident, kibibytes(fields, "VmHWM"))
            anonymous = max(anonymous, kibibytes(fields, "RssAnon"))
    finally:
        os.close(descriptor)
    return (resident, anonymous) if looks >= FEWEST_LOOKS else (0, None)


def kibibytes(fields, name):
    """One number of the status file, in bytes; an ended process has none left."""
    return int(fields.get(name, "0 kB").split()[0]) * 1024
