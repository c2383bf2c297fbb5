"""The data of scale.py: very many small files, in many folders or in one, and one large file with holes."""

import os
import random

from .ground import mib, say

SMALLEST, LARGEST = 100, 2000


class SmallFiles:
    """Files of 100 to 2,000 bytes that neither compress nor repeat, spread evenly over some folders."""

    vaultwarden = False

    def __init__(self, wanted, work, folders):
        self.count, self.seed, self.folders = wanted.files, wanted.seed, folders
        self.folder = work / "data"
        self.entries = self.count + folders
        self.sample = self.path(self.count // 2)
        self.title = f"{self.count:,} small files in {f'{folders:,} folders' if folders > 1 else 'one folder'}"

    def path(self, number):
        return self.folder / f"folder-{number % self.folders:06}" / f"file-{number:08}"

    def make(self):
        say(f"making {self.title}")
        chance = random.Random(self.seed)
        for number in range(self.folders):
            self.path(number).parent.mkdir(parents=True, exist_ok=True)
        self.bytes = 0
        for number in range(self.count):
            content = chance.randbytes(chance.randint(SMALLEST, LARGEST))
            self.path(number).write_bytes(content)
            self.bytes += len(content)

    def facts(self):
        return f"{mib(self.bytes)} that neither compress nor repeat, {SMALLEST} to {LARGEST:,} bytes each"


class LargeFile:
    """One file: pieces that neither compress nor repeat, at equal distances, and holes between them."""

    vaultwarden = False

    def __init__(self, wanted, work):
        self.seed, self.apparent, self.pieces = wanted.seed, wanted.large_bytes, wanted.pieces
        self.piece = min(wanted.dense_bytes, self.apparent) // self.pieces
        self.folder = work / "data"
        self.entries = 1
        self.sample = self.folder / "large"
        self.title = f"One file of {self.apparent / 1e9:,.2f} GB with holes"

    def make(self):
        say(f"making {self.title[0].lower()}{self.title[1:]}")
        chance = random.Random(self.seed)
        self.folder.mkdir()
        with open(self.sample, "wb") as file:
            for number in range(self.pieces):
                file.seek(number * (self.apparent // self.pieces))
                file.write(chance.randbytes(self.piece))
            file.truncate(self.apparent)
            os.fsync(file.fileno())

    def facts(self):
        return (f"{self.pieces:,} pieces of {mib(self.piece)} that neither compress nor repeat, the rest holes;"
                f" {mib(occupied(self.sample))} on disk")


def occupied(path):
    """Bytes that a file takes on the disk."""
    return path.stat().st_blocks * 512
