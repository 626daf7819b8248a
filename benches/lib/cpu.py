"""CPU time of the server and its workers per second of audio that a client got."""

from __future__ import annotations

import asyncio
from argparse import Namespace

from . import client, formats
from .report import Figure, Report
from .server import Server

AUDIO_SECONDS = 20 * 60
# Some streams side by side, as in life; few enough that none is refused.
AT_ONCE = 4
TEXT_CHARS = 1000
# A text of that length takes about a minute, so that this is more than enough of them.
TEXTS_MOST = 80
MADE = "evensong_speech_audio_seconds_total"


def run(report: Report, given: Namespace) -> None:
    """Each format by itself, since their bounds differ."""
    for name in given.formats:
        with Server(report.complaints) as server:
            asyncio.run(_speak(server, name, 30))
            made, spent = server.metrics()[MADE], server.cpu_seconds()
            audio_bytes = asyncio.run(_speak(server, name, AUDIO_SECONDS))
            spent = server.cpu_seconds() - spent
            made = server.metrics()[MADE] - made
        if name in ("wav", "pcm"):
            # Here the bytes say how long it is, and the server's own count is not needed.
            made = audio_bytes / formats.PCM_BYTES_PER_SECOND
        detail = f"{spent:.1f} s for {made / 60:.1f} min of audio"
        most = formats.BOUNDS[name].cpu_seconds_per_second
        report.figures.append(Figure(f"CPU, {name}", spent / made, "s/s", most=most, detail=detail))


async def _speak(server: Server, name: str, audio_seconds: float) -> int:
    """Has at least `audio_seconds` of audio spoken, as fast as it is made; the bytes of it."""
    numbers, audio_bytes = iter(range(TEXTS_MOST)), 0
    before = server.metrics()[MADE]

    async def clients() -> None:
        nonlocal audio_bytes
        for number in numbers:
            answer = client.Answer(name)
            message = client.request(formats.prose(number, TEXT_CHARS), name)
            with await client.connect(server.address, message) as stream:
                await client.read(stream, answer, float("inf"))
            if answer.status != 200:
                raise client.Broken(f"{name} was answered {answer.status}")
            audio_bytes += answer.audio_bytes
            if server.metrics()[MADE] - before >= audio_seconds:
                return

    await asyncio.gather(*(clients() for _ in range(AT_ONCE)))
    return audio_bytes
