"""Judges sound by numbers: how long, how loud, how clipped, how silent. Only the standard library."""

from __future__ import annotations

import array
import io
import math
import shutil
import subprocess
import sys
import wave
from dataclasses import dataclass

RATE = 24_000
FULL_SCALE = 32_768
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
            clipped_share=sum(abs(s) >= FULL_SCALE - 1 for s in samples) / len(samples),
            silent_share=sum(silent) / len(silent),
            longest_silence_seconds=longest * WINDOW / RATE,
            largest_step=max(abs(b - a) for a, b in zip(samples, samples[1:])) / FULL_SCALE,
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
    return math.sqrt(sum(s * s for s in samples) / len(samples))


def pcm_of_wav(wav: bytes) -> bytes:
    """The samples of a WAV file as it is streamed: one header whose sizes are not yet known."""
    assert wav[:4] == b"RIFF" and wav[8:12] == b"WAVE", wav[:12]
    assert wav.count(b"RIFF") == 1, "a header for each piece, not one for the stream"
    with wave.open(io.BytesIO(wav)) as file:
        shape = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        assert shape == (1, 2, RATE), shape
        return file.readframes(file.getnframes())


def decode(encoded: bytes) -> bytes | None:
    """What ffmpeg makes of it, as mono 16-bit PCM at 24 kHz; `None` where ffmpeg is not installed."""
    ffmpeg = shutil.which("ffmpeg")
    if not ffmpeg:
        return None
    into = ["-f", "s16le", "-ac", "1", "-ar", str(RATE), "pipe:1"]
    command = [ffmpeg, "-v", "error", "-i", "pipe:0", *into]
    done = subprocess.run(command, input=encoded, capture_output=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    return done.stdout
