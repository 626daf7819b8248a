"""What a stream of the stub consists of, and how a request asks for it.

A byte follows from the stream's number and its position alone, so that a reader can check each one without having
seen the source, and a piece that is lost, doubled or another reader's is noticed.
"""

from __future__ import annotations

import json
import random
import re

from .. import formats

# A prime just below 64 KiB: a page that is swapped for another never fits by chance.
PERIOD = 65_521
# The most that is sent or compared at once.
PIECE = 256 * 1024
_ONCE = random.Random(PERIOD).randbytes(PERIOD)
BYTES = _ONCE * (PIECE // PERIOD + 2)
# Above 300 characters, which Evensong may keep as a phrase.
TEXT_CHARS = 600
_ASKED = re.compile(r"Speak (\d+) bytes of stream (\d+)\.")


def phase(number: int, position: int) -> int:
    """Where in `BYTES` the stream's bytes from `position` on are found."""
    return (number * 7919 + position) % PERIOD


def message(number: int, size: int) -> bytes:
    """A whole request for a stream. The wish stands in the text, since that is passed on by whatever is between."""
    text = f"Speak {size} bytes of stream {number}. {formats.prose(number, TEXT_CHARS)}"
    wanted = {"model": "tts-1", "voice": "alloy", "input": text, "response_format": "pcm"}
    body = json.dumps(wanted).encode()
    head = (
        "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def asked(body: bytes) -> tuple[int, int]:
    """Number and size of the stream that a request's body asks for."""
    size, number = _ASKED.search(json.loads(body)["input"]).groups()
    return int(number), int(size)
