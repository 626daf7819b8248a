"""Warm first audio of a 100-character sentence at a local client, one request after the other."""

from __future__ import annotations

from argparse import Namespace

from . import client, formats
from .report import Figure, Report, percentile
from .server import Server

REQUESTS = 200
WARM_UP = 20


def run(report: Report, given: Namespace) -> None:
    """Each format by itself, since their bounds differ."""
    for name in given.formats:
        with Server(report.complaints) as server:
            for number in range(WARM_UP):
                _milliseconds(server, name, number)
            taken = [_milliseconds(server, name, WARM_UP + number) for number in range(REQUESTS)]
        most = formats.BOUNDS[name].first_audio_ms
        p50 = percentile(taken, 0.5)
        report.figures += [
            Figure(f"first audio, {name}, p50", p50, "ms", most=most, detail=f"{REQUESTS} requests"),
            Figure(f"first audio, {name}, p99", percentile(taken, 0.99), "ms"),
        ]


def _milliseconds(server: Server, name: str, number: int) -> float:
    """The stream is read to its end, so that no request pays for cancelling the one before."""
    seconds, answer, stream = client.first_audio(server.address, formats.sentence(number), name)
    if not answer.has_audio:
        raise client.Broken(f"{name} was answered {answer.status}")
    client.drain(stream, answer)
    return seconds * 1e3
