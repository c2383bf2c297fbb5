"""The ground both scripts stand on: failures in words, commands, folders, sizes, and what machine this is."""

import contextlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MEBIBYTE = 1 << 20


class Failure(Exception):
    """What stops a measurement, in words for whoever started it."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def entry(main, script):
    """Runs a script's main function; a failure ends it with one message and no traceback."""
    if sys.version_info < (3, 11):
        sys.exit(f"{script}: needs Python 3.11 or later")
    try:
        main()
    except Failure as failure:
        sys.exit(f"{script}: {failure}")
    except OSError as error:
        sys.exit(f"{script}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


@contextlib.contextmanager
def work_folder(path, needed, keep):
    """An empty folder with enough room, removed at the end unless it is to be kept."""
    path = path.resolve()
    if path.exists() and any(path.iterdir()):
        raise Failure(f"{path} is not empty; remove it, or name another folder with --work")
    path.mkdir(parents=True, exist_ok=True)
    try:
        free = shutil.disk_usage(path).free
        if free < needed:
            raise Failure(f"{mib(needed)} are needed in {path}, {mib(free)} are free; name another folder with --work")
        yield path
    finally:
        if not keep:
            shutil.rmtree(path, ignore_errors=True)


def retire(folder, work):
    """Empties every file of a folder and moves it aside, to be deleted when the work folder is.

    Deleting it now would falsify what comes next: ext4 passes over inode numbers that were freed in the last
    minutes, one by one, and where they are many, a file takes a millisecond to create.
    """
    if not folder.exists():
        return
    for path in files(folder):
        if not path.is_symlink():
            path.chmod(0o600)
            os.truncate(path, 0)
    spent = work / "spent"
    spent.mkdir(exist_ok=True)
    folder.rename(spent / str(sum(1 for _ in spent.iterdir())))


def output(command):
    """What a command prints; a failure if it cannot."""
    try:
        done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True)
    except OSError as error:
        raise Failure(f"{command[0]} cannot be started: {error.strerror}") from None
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout.strip()


def run_plainly(command):
    """Runs a command in the repository's folder and shows what it says."""
    try:
        done = subprocess.run(list(map(str, command)), cwd=ROOT, stdout=sys.stderr, check=False)
    except OSError as error:
        raise Failure(f"{command[0]} cannot be started: {error.strerror}") from None
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}\nended with {done.returncode}")


def cargo_target():
    """Where cargo leaves what it builds."""
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target")


def files(root):
    for folder, _, names in os.walk(root):
        for name in names:
            yield pathlib.Path(folder) / name


def size(root):
    return sum(path.lstat().st_size for path in files(root))


def mib(count):
    return f"{count / MEBIBYTE:,.1f} MiB"


def row(cells):
    return f"| {' | '.join(cells)} |"


def heading(cells, left):
    """The first two lines of a Markdown table; so many columns are text, the others numbers."""
    return [row(cells), row(["---"] * left + ["---:"] * (len(cells) - left))]


def machine():
    """Processor, memory and system, without anything that names this one machine."""
    model = platform.machine()
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        names = [line for line in lines if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    kernel = f"{platform.system()} {platform.release().split('-')[0]}"
    return f"{model}, {os.cpu_count()} threads, {memory / (1 << 30):.0f} GiB memory, {kernel}"
