"""Compares a restored folder with the one that was backed up."""

import contextlib
import hashlib
import os
import pathlib
import shutil
import sqlite3
import stat

from .ground import MEBIBYTE, Failure

LOGS = ("-wal", "-shm", "-journal")
SQLITE = b"SQLite format 3\0"


def compare_trees(source, restored, scratch):
    """Names, modes, times and bytes; a database, which Strongroom takes through SQLite, row for row."""
    trees = [entries(source), entries(restored)]
    if trees[0].keys() != trees[1].keys():
        differing = sorted(trees[0].keys() ^ trees[1].keys())
        raise Failure(f"restored files are not those backed up: {differing[:5]}")
    for name in trees[0]:
        before, after = (os.path.join(root, name) for root in (source, restored))
        kept, found = os.lstat(before), os.lstat(after)
        if stat.S_ISREG(kept.st_mode) and not same_content(before, after) and not same_rows(before, after, scratch):
            raise Failure(f"{name} was restored with another content")
        if (kept.st_mode, kept.st_mtime_ns) != (found.st_mode, found.st_mtime_ns):
            raise Failure(f"{name} was restored with another mode or time")


def entries(root):
    """Every name below a folder, without the logs of databases; the value says nothing, the order is the walk's."""
    found = {}
    for folder, folders, names in os.walk(root):
        below = os.path.relpath(folder, root)
        for name in folders + [name for name in names if not name.endswith(LOGS)]:
            found[os.path.normpath(os.path.join(below, name))] = None
    return found


def same_content(before, after):
    """Whether two files hold the same bytes."""
    with open(before, "rb", buffering=0) as old, open(after, "rb", buffering=0) as new:
        if os.fstat(old.fileno()).st_size != os.fstat(new.fileno()).st_size:
            return False
        while ours := old.read(MEBIBYTE):
            if ours != new.read(MEBIBYTE):
                return False
    return True


def same_rows(before, after, scratch):
    """Whether two files are SQLite databases that hold the same."""
    for path in (before, after):
        with open(path, "rb") as file:
            if file.read(len(SQLITE)) != SQLITE:
                return False
    return rows(pathlib.Path(before), scratch) == rows(pathlib.Path(after), scratch)


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
