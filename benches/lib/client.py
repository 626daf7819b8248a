"""A client of the speech route on a raw socket: blocking where one is timed, asyncio where many run."""

from __future__ import annotations

import asyncio
import json
import socket
import time

from . import formats

READ_BYTES = 64 * 1024
# Nothing that is measured here may wait longer for anything.
PATIENCE_SECONDS = 30.0


class Broken(Exception):
    """The connection ended before the answer did."""


class Answer:
    """An HTTP/1.1 answer, parsed as it comes; what the sockets gave goes in at `feed`."""

    def __init__(self, format: str):
        self.format = format
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body_bytes = 0
        self.is_done = False
        self._raw = bytearray()
        # Of the chunk or the plain body that is being read.
        self._left = 0
        self._is_chunked = False
        # The beginning of the body, until the header's length is known.
        self._start = bytearray()
        self._header_bytes: int | None = None

    @property
    def audio_bytes(self) -> int:
        """Bytes of audio so far: those behind the container's header."""
        if self._header_bytes is None:
            return 0
        return max(0, self.body_bytes - self._header_bytes)

    @property
    def has_audio(self) -> bool:
        return self.status == 200 and self.audio_bytes > 0

    @property
    def is_refusal(self) -> bool:
        """Refused as it should be: a 503 that says when to come again."""
        return self.status == 503 and "retry-after" in self.headers

    def feed(self, data: bytes) -> None:
        """Takes what came; an empty `data` is the end of the connection."""
        if not data and not self.is_done:
            raise Broken(f"closed after {self.body_bytes} bytes of a {self.status or 'missing'} answer")
        self._raw += data
        if not self.status:
            self._head()
        while self.status and self._raw and not self.is_done:
            if self._left:
                part = self._raw[: self._left]
                self._body(part)
                del self._raw[: len(part)]
            elif not self._chunk():
                return

    def _head(self) -> None:
        head, end, rest = bytes(self._raw).partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        self.status = int(first.split(" ")[1])
        self._raw = bytearray(rest)
        self._is_chunked = self.headers.get("transfer-encoding") == "chunked"
        self._left = int(self.headers.get("content-length", "0"))
        self.is_done = not self._is_chunked and self._left == 0

    def _chunk(self) -> bool:
        """Reads the line that begins a chunk; false when it is not there yet."""
        # Every chunk but the first stands behind the line end of the one before.
        begin = 2 if self._raw.startswith(b"\r\n") else 0
        end = self._raw.find(b"\r\n", begin)
        if end <= 0:
            return False
        size = int(self._raw[begin:end], 16)
        if size == 0:
            self.is_done = True
        else:
            del self._raw[: end + 2]
            self._left = size
        return True

    def _body(self, part: bytearray) -> None:
        self.body_bytes += len(part)
        self._left -= len(part)
        if not self._is_chunked:
            self.is_done = self._left == 0
        if self._header_bytes is None:
            self._start += part
            self._header_bytes = formats.header_bytes(self.format, bytes(self._start))


def request(text: str, format: str) -> bytes:
    """A whole request for `text`."""
    wanted = {"model": "tts-1", "voice": "alloy", "input": text, "response_format": format}
    body = json.dumps(wanted).encode()
    head = (
        "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def first_audio(address: tuple[str, int], text: str, format: str) -> tuple[float, Answer, socket.socket]:
    """Seconds from just before the connect to the first byte of audio, or to a refusal's end. The
    socket is left open; everything is ready before the clock starts."""
    message, answer = request(text, format), Answer(format)
    stream = socket.socket()
    stream.settimeout(PATIENCE_SECONDS)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    began = time.perf_counter()
    try:
        stream.connect(address)
        stream.sendall(message)
        while not (answer.has_audio or answer.is_done):
            answer.feed(stream.recv(READ_BYTES))
    except (OSError, Broken):
        stream.close()
        raise
    return time.perf_counter() - began, answer, stream


def drain(stream: socket.socket, answer: Answer) -> None:
    """Reads the rest of an answer and closes."""
    with stream:
        while not answer.is_done:
            answer.feed(stream.recv(READ_BYTES))


async def connect(address: tuple[str, int], message: bytes) -> socket.socket:
    """A socket that has sent `message`."""
    loop = asyncio.get_running_loop()
    stream = socket.socket()
    stream.setblocking(False)
    try:
        await asyncio.wait_for(loop.sock_connect(stream, address), PATIENCE_SECONDS)
        await asyncio.wait_for(loop.sock_sendall(stream, message), PATIENCE_SECONDS)
    except BaseException:
        stream.close()
        raise
    return stream


async def read(stream: socket.socket, answer: Answer, audio_bytes: float) -> None:
    """Reads until `audio_bytes` of audio have come, or the answer is over."""
    await asyncio.wait_for(_read(stream, answer, audio_bytes), PATIENCE_SECONDS)


async def _read(stream: socket.socket, answer: Answer, audio_bytes: float) -> None:
    loop = asyncio.get_running_loop()
    while answer.audio_bytes < audio_bytes and not answer.is_done:
        # About what was asked for: one that reads a little must not empty the socket by it.
        step = min(READ_BYTES, max(2048, audio_bytes - answer.audio_bytes))
        answer.feed(await loop.sock_recv(stream, int(step)))
