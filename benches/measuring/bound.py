"""What any program must pay: the time in which the same bytes are read, or written and synced, and nothing else."""

import os
import pathlib
import subprocess
import time

from .ground import MEBIBYTE, Failure, files

FILE_BYTES = 32 * MEBIBYTE


def read(folder):
    """Seconds in which `cat` reads every file of a folder."""
    started = time.monotonic()
    command = ["find", folder, "-type", "f", "-exec", "cat", "{}", "+"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise Failure(f"find and cat cannot read {folder}")
    return time.monotonic() - started


def write(folder, count):
    """Seconds in which so many bytes that do not compress are written in files of 32 MiB, each synced."""
    place = folder / "bound"
    place.mkdir()
    content = memoryview(os.urandom(FILE_BYTES))
    os.sync()
    started = time.monotonic()
    for number, begin in enumerate(range(0, count, FILE_BYTES)):
        with open(place / str(number), "wb", buffering=0) as file:
            piece = content[:count - begin]
            while piece:
                piece = piece[file.write(piece):]
            os.fsync(file.fileno())
    descriptor = os.open(place, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    took = time.monotonic() - started
    for path in list(files(place)):
        path.unlink()
    place.rmdir()
    return took


def level_ground(folder, cold):
    """Brings the page cache into the same state for whoever comes next: empty, or holding what is to be read."""
    os.sync()
    if cold:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")
        return
    for path in files(folder):
        with open(path, "rb", buffering=0) as file:
            while file.read(MEBIBYTE):
                pass
