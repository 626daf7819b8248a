"""Where audio begins in each format, what it may cost, and the texts that are spoken.

A container's header says nothing, so first audio is counted from behind it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

# pcm and wav: 24 kHz, 16 bits, mono.
PCM_BYTES_PER_SECOND = 48_000
WAV_HEADER_BYTES = 44


@dataclass(frozen=True)
class Bounds:
    """What a format may cost."""

    first_audio_ms: float
    cpu_seconds_per_second: float


BOUNDS = {
    "wav": Bounds(10, 0.01),
    "pcm": Bounds(10, 0.01),
    "mp3": Bounds(25, 0.015),
    "opus": Bounds(25, 0.025),
    "flac": Bounds(25, 0.015),
}


def header_bytes(name: str, start: bytes) -> int | None:
    """Bytes before the first audio, as soon as `start`, the body so far, tells them."""
    measure = {"wav": _wav, "mp3": _mp3, "opus": _ogg, "flac": _flac}.get(name)
    return measure(start) if measure else 0


def _wav(start: bytes) -> int | None:
    return WAV_HEADER_BYTES if len(start) >= WAV_HEADER_BYTES else None


def _mp3(start: bytes) -> int | None:
    """Behind an ID3v2 tag, if there is one (its size has seven bits a byte)."""
    if len(start) < 10:
        return None
    if start[:3] != b"ID3":
        return 0
    return 10 + (start[6] << 21 | start[7] << 14 | start[8] << 7 | start[9])


def _ogg(start: bytes) -> int | None:
    """Behind the two header pages of RFC 7845: a page is 27 bytes, its lacing values, its body."""
    at = 0
    for _ in range(2):
        if len(start) < at + 27 or len(start) < at + 27 + start[at + 26]:
            return None
        lacing = start[at + 27 : at + 27 + start[at + 26]]
        at += 27 + len(lacing) + sum(lacing)
    return at


def _flac(start: bytes) -> int | None:
    """Behind the mark and the metadata blocks (RFC 9639, 8), the last of which says that it is."""
    at, last = 4, False
    while not last:
        if len(start) < at + 4:
            return None
        last = bool(start[at] & 0x80)
        at += 4 + int.from_bytes(start[at + 1 : at + 4], "big")
    return at


_WORDS = (
    "evening light falls softly over quiet rivers while distant bells remember every old song that "
    "travellers carried across the wide green hills before winter came and covered small villages "
    "with snow until morning birds returned to build their nests under warm wooden roofs again"
).split()


def sentence(number: int, chars: int = 100) -> str:
    """One sentence of exactly `chars` characters without an inner mark, so that it is one clause;
    each number gives another, so that no cache can answer."""
    dice = random.Random(number)
    text = f"Number {number} says that"
    while len(text) < chars:
        text += " " + dice.choice(_WORDS)
    return text[: chars - 1].rstrip().ljust(chars - 1, "s") + "."


def prose(number: int, chars: int) -> str:
    """Sentences of usual length, exactly `chars` characters in all."""
    dice = random.Random(number)
    text = ""
    while len(text) < chars:
        text += sentence(dice.randrange(1_000_000), dice.randint(40, 160)) + " "
    return text[: chars - 1] + "."
