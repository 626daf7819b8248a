"""The files that everybody serves: GIFs of 300 to 500 KB, made here, the same for a seed."""

from __future__ import annotations

import os
import random
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

WIDTH, HEIGHT = 320, 240
# A round of them has 400 KB in the mean.
LEAST_BYTES, MOST_BYTES = 300_000, 500_000
COLOURS = 128
# With 128 colours a decoder's codes have eight bits until it has seen 126 of them. One that empties its table comes before
# that, so each code is one byte, and the size is what we want it to be.
CLEAR, END, RUN = 128, 129, 100

# The files' time, in seconds since 1970: a day in 2026.
MODIFIED = 1_780_000_000


@dataclass(frozen=True)
class File:
    """One of them."""

    name: str
    content: bytes


def reel(count: int, seed: int) -> list[File]:
    """So many files, of sizes that are spread evenly."""
    step = (MOST_BYTES - LEAST_BYTES) / max(1, count - 1)
    sizes = [round(LEAST_BYTES + number * step) for number in range(count)]
    return [File(f"reel-{number:03}.gif", gif(seed * 1000 + number, size)) for number, size in enumerate(sizes)]


class Folder:
    """A folder that everybody can read, with the files in it; it is gone with its `with` block."""

    def __init__(self, files: list[File]):
        self.files = files

    def __enter__(self) -> Folder:
        self.folder = tempfile.TemporaryDirectory(prefix="evensong-bench-")
        Path(self.folder.name).chmod(0o755)
        self.root = Path(self.folder.name) / "media"
        self.root.mkdir()
        for file in self.files:
            (self.root / file.name).write_bytes(file.content)
            # Within a second of its change a date does not say which bytes are meant (RFC 9110, 8.8.2.2).
            os.utime(self.root / file.name, (MODIFIED, MODIFIED))
        return self

    def __exit__(self, *_: object) -> None:
        self.folder.cleanup()


def gif(seed: int, size: int) -> bytes:
    """An animated GIF of exactly `size` bytes: frames of noise, and a comment of what is left."""
    dice = random.Random(seed)
    palette = dice.randbytes(COLOURS * 3)
    parts = [b"GIF89a", struct.pack("<HHBBB", WIDTH, HEIGHT, 0xF6, 0, 0), palette]
    parts.append(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")
    room = size - sum(map(len, parts)) - 1
    frame = _frame(dice)
    parts += [_frame(dice) for _ in range(room // len(frame) - 1)] + [frame]
    parts.append(_comment(size - sum(map(len, parts)) - 1))
    return b"".join([*parts, b"\x3b"])


def _frame(dice: random.Random) -> bytes:
    head = b"\x21\xf9\x04\x00\x0a\x00\x00\x00" + b"\x2c" + struct.pack("<HHHHB", 0, 0, WIDTH, HEIGHT, 0) + b"\x07"
    pixels = bytes(byte & (COLOURS - 1) for byte in dice.randbytes(WIDTH * HEIGHT))
    runs = (bytes([CLEAR]) + pixels[at : at + RUN] for at in range(0, len(pixels), RUN))
    return head + _blocks(b"".join(runs) + bytes([END])) + b"\x00"


def _blocks(data: bytes) -> bytes:
    return b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))


def _comment(size: int) -> bytes:
    """A comment extension of so many bytes: two for its name, blocks of up to 256, one for its end."""
    left, blocks = size - 3, b""
    while left > 0:
        # A block of one byte alone cannot be: its length is a byte as well.
        block = 255 if left == 257 else min(256, left)
        blocks += bytes([block - 1]) + b"." * (block - 1)
        left -= block
    return b"\x21\xfe" + blocks + b"\x00"
