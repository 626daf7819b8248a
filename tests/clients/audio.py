"""Judges sound by numbers: how long, how loud, how clipped, how silent. Only the standard library."""

from __future__ import annotations

import array
import io
import math
import operator
import subprocess
import sys
import wave
from dataclasses import dataclass

RATE = 24_000
FULL_SCALE = 32_768
CLIPPED = (-FULL_SCALE, 1 - FULL_SCALE, FULL_SCALE - 1)
# 10 ms below -50 dBFS is silence: well under speech, well above what rounding leaves.
WINDOW = RATE // 100
SILENT_RMS = FULL_SCALE * 10 ** (-50 / 20)


@dataclass(frozen=True)
class Sound:
    """What can be said of mono 16-bit PCM at 24 kHz without listening to it."""

    seconds: float
    rms_dbfs: float
    clipped_share: float
    silent_share: float
    longest_silence_seconds: float
    # The largest step between neighbouring samples, of full scale: a torn join is a large one.
    largest_step: float

    @classmethod
    def of_pcm(cls, pcm: bytes) -> Sound:
        assert pcm and len(pcm) % 2 == 0, f"{len(pcm)} bytes are no 16-bit samples"
        samples = array.array("h", pcm)
        if sys.byteorder == "big":
            samples.byteswap()
        windows = [rms(samples[at : at + WINDOW]) for at in range(0, len(samples), WINDOW)]
        silent = [level < SILENT_RMS for level in windows]
        run = longest = 0
        for quiet in silent:
            run = run + 1 if quiet else 0
            longest = max(longest, run)
        return cls(
            seconds=len(samples) / RATE,
            rms_dbfs=20 * math.log10(max(rms(samples), 1e-9) / FULL_SCALE),
            clipped_share=sum(map(samples.count, CLIPPED)) / len(samples),
            silent_share=sum(silent) / len(silent),
            longest_silence_seconds=longest * WINDOW / RATE,
            largest_step=step(samples) / FULL_SCALE,
        )

    def is_speech_of(self, text: str) -> None:
        """Asserts that this can be `text`, spoken at normal speed."""
        # A fast reader speaks 25 characters a second, a slow one 8.
        assert len(text) / 25 < self.seconds < len(text) / 8 + 0.5, self
        assert -32 < self.rms_dbfs < -9, self
        assert self.clipped_share < 0.001, self
        assert self.silent_share < 0.4, self
        assert self.longest_silence_seconds < 1.0, self
        # Plosives reach 0.35.
        assert self.largest_step < 0.7, self


def rms(samples: array.array[int]) -> float:
    return math.sqrt(sum(map(operator.mul, samples, samples)) / len(samples))


def pcm_of_wav(wav: bytes) -> bytes:
    """The samples of a WAV file as it is streamed: one header whose sizes are not yet known."""
    assert wav[:4] == b"RIFF" and wav[8:12] == b"WAVE", wav[:12]
    assert wav.count(b"RIFF") == 1, "a header for each piece, not one for the stream"
    with wave.open(io.BytesIO(wav)) as file:
        shape = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        assert shape == (1, 2, RATE), shape
        return file.readframes(file.getnframes())


def decode(encoded: bytes, *, torn: bool = False) -> bytes:
    """What ffmpeg makes of it, as mono 16-bit PCM at 24 kHz. It is not told the format.

    Of something `torn` the last frame may be lost, and complained of; nothing else may.
    """
    into = ["-f", "s16le", "-ac", "1", "-ar", str(RATE), "pipe:1"]
    command = ["ffmpeg", "-v", "error", "-i", "pipe:0", *into]
    done = subprocess.run(command, input=encoded, capture_output=True, timeout=60)
    complaints = done.stderr.decode()
    assert torn or (done.returncode == 0 and not complaints), complaints
    assert done.stdout, f"nothing of {len(encoded)} bytes could be decoded: {complaints}"
    return done.stdout


@dataclass(frozen=True)
class Comparison:
    """How a decoded sound differs from the samples that it was encoded from."""

    # How much later it starts, in seconds: what an encoder puts in front.
    late: float
    # Where it is all but silent and the original is not, in seconds.
    gaps: list[float]
    # Where it jumps and the original does not, in seconds.
    clicks: list[float]

    @classmethod
    def of(cls, decoded: bytes, original: bytes) -> Comparison:
        """Compares as far as both go, window by window; so at every join, too, wherever those are.

        The original need not be the very same synthesis, since hisses are noise that differs from one
        to the next; but it must have been made in the same pieces.
        """
        ours, theirs = (array.array("h", pcm) for pcm in (decoded, original))
        late = delay(ours, theirs)
        ours = ours[late:]
        gaps, clicks = [], []
        for at in range(WINDOW, min(len(ours), len(theirs)) - 2 * WINDOW, WINDOW):
            here = rms(ours[at : at + WINDOW])
            # The neighbours, too: a codec smears over some milliseconds, but not over twenty.
            around = theirs[at - WINDOW : at + 2 * WINDOW]
            parts = [rms(around[i : i + WINDOW]) for i in range(0, 3 * WINDOW, WINDOW)]
            if min(parts) > 10 * SILENT_RMS and here < min(parts) / 4:
                gaps.append(at / RATE)
            if step(ours[at : at + WINDOW]) > step(around) + FULL_SCALE // 4:
                clicks.append(at / RATE)
        return cls(late=late / RATE, gaps=gaps, clicks=clicks)


def delay(ours: array.array[int], theirs: array.array[int]) -> int:
    """By how many samples, up to 100 ms, `ours` starts later than `theirs`, to the millisecond."""
    # A second of sound is enough to tell, by its level in each millisecond.
    tick, compared = RATE // 1000, 1000
    levels = [
        [rms(of[at : at + tick]) for at in range(0, min(len(of) - tick, 1200 * tick), tick)]
        for of in (ours, theirs)
    ]
    wanted = levels[1][:compared]

    def distance(ticks: int) -> float:
        pairs = list(zip(levels[0][ticks:], wanted))
        return sum(abs(a - b) for a, b in pairs) / len(pairs)

    return min(range(100), key=distance) * tick


def step(samples: array.array[int]) -> int:
    return max(map(abs, map(operator.sub, samples[1:], samples)))
