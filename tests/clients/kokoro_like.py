"""A speech server of another make, on FastAPI and uvicorn as Kokoro-FastAPI is: its routes, its fields, its shapes of
errors and of the list of voices. What it says are tones, by the words; the same for the same request.

    python kokoro_like.py PORT
"""

from __future__ import annotations

import array
import asyncio
import math
import struct
import sys
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

RATE = 24_000
VOICES = {"af_bella": 220.0, "am_adam": 110.0, "bf_emma": 247.0}
TYPES = {"pcm": "audio/pcm", "wav": "audio/wav"}
WORD_SECONDS = 0.3

app = FastAPI()
# How its requests ended, for those who test: `whole`, or `left` where the client was gone before.
ends: list[str] = []


class Speech(BaseModel):
    model: str = "kokoro"
    input: str
    voice: str = "af_bella"
    response_format: str = "mp3"
    speed: float = Field(default=1.0, ge=0.25, le=4.0)


@app.get("/v1/audio/voices")
def voices() -> dict[str, list[str]]:
    return {"voices": list(VOICES)}


@app.get("/ends")
def ended() -> list[str]:
    return ends


@app.post("/v1/audio/speech")
async def speech(asked: Speech) -> StreamingResponse:
    if asked.voice not in VOICES:
        said = f"Voice '{asked.voice}' not found. Available voices: {', '.join(VOICES)}"
        raise HTTPException(400, {"error": "validation_error", "message": said})
    if asked.response_format not in TYPES:
        said = f"Unsupported format: {asked.response_format}"
        raise HTTPException(400, {"error": "validation_error", "message": said})
    return StreamingResponse(spoken(asked), media_type=TYPES[asked.response_format])


async def spoken(asked: Speech) -> AsyncIterator[bytes]:
    end = "left"
    try:
        if asked.response_format == "wav":
            # As it does while streaming: sizes are not known.
            unknown = 0xFFFFFFFF
            yield struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", unknown, b"WAVEfmt ", 16, 1, 1, RATE,
                              RATE * 2, 2, 16, b"data", unknown)  # fmt: skip
        for number, word in enumerate(asked.input.split()):
            yield tone(VOICES[asked.voice], word, number, asked.speed)
            # A model works elsewhere meanwhile, and the loop hears who has left.
            await asyncio.sleep(0)
        end = "whole"
    finally:
        ends.append(end)


def tone(base: float, word: str, number: int, speed: float) -> bytes:
    """A word: higher with its length, fading in and out."""
    count = int(RATE * WORD_SECONDS / speed)
    hertz = base * (1 + len(word) / 12 + number % 5 / 40)
    shape = (math.sin(math.pi * at / count) for at in range(count))
    wave = (math.sin(2 * math.pi * hertz * at / RATE) for at in range(count))
    samples = array.array("h", (int(9000 * a * b) for a, b in zip(shape, wave, strict=True)))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
