"""A dialogue as a front-end meets it on raw sockets: what is asked, and the events that come, each known by its id."""

from __future__ import annotations

import base64
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import client, formats

Address = tuple[str, int]
CONVERSE = "/api/voice/converse"
# One of these is a turn's last.
LAST = ("done", "interrupted", "error")
# Bytes of a second of what is spoken; mp3 has a constant rate.
RATES = {"pcm": formats.PCM_BYTES_PER_SECOND, "mp3": 8_000}


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    name: str
    id: str
    data: str

    @property
    def value(self) -> dict[str, Any]:
        return json.loads(self.data)

    @property
    def audio(self) -> bytes:
        return base64.b64decode(self.value["audio"], validate=True) if self.name == "audio" else b""

    @property
    def is_last(self) -> bool:
        return self.name in LAST


class Whole(client.Answer):
    """An answer whose body is kept."""

    def __init__(self) -> None:
        super().__init__("pcm")
        self.body = bytearray()

    def _body(self, part: bytearray) -> None:
        super()._body(part)
        self.body += part

    @property
    def value(self) -> dict[str, Any]:
        return json.loads(self.body)


class Events(client.Answer):
    """An answer of server-sent events, of which `take` gives those that are whole, and `next` the first of them."""

    def __init__(self) -> None:
        super().__init__("pcm")
        self._text = bytearray()
        self._events: deque[Event] = deque()
        # What was taken last: there a later request goes on.
        self.last_id = ""

    def _body(self, part: bytearray) -> None:
        super()._body(part)
        self._text += part
        *whole, rest = bytes(self._text).split(b"\n\n")
        self._text = bytearray(rest)
        self._events += map(_event, whole)

    def next(self) -> Event | None:
        if not self._events:
            return None
        event = self._events.popleft()
        self.last_id = event.id or self.last_id
        return event

    def take(self) -> list[Event]:
        return [event for _ in range(len(self._events)) if (event := self.next())]


def _event(block: bytes) -> Event:
    fields = {"event": "", "id": "", "data": ""}
    for line in block.decode().split("\n"):
        name, _, value = line.partition(":")
        if name in fields:
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if fields[name] and name == "data" else value
    return Event(fields["event"], fields["id"], fields["data"])


def post(path: str, value: dict[str, Any] | bytes, type: str = "application/json") -> bytes:
    """A request, of JSON where it is not bytes already."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def get(path: str, last_id: str = "") -> bytes:
    """A request for a stream; behind what came last, if that is given."""
    behind = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{behind}\r\n".encode()


def delete(path: str) -> bytes:
    return f"DELETE {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def follow(events: str) -> str:
    """The same stream, which stays for the turns to come."""
    return f"{events}&follow=1"


def connect(address: Address, receive_buffer: int = 0) -> socket.socket:
    """A blocking socket; its receive buffer is the kernel's choice unless it is given."""
    stream = socket.socket()
    if receive_buffer:
        # Before the connection, since the window is agreed on there.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.settimeout(client.PATIENCE_SECONDS)
    stream.connect(address)
    return stream


def reset_at_close(stream: socket.socket) -> None:
    """What closes this socket says RST."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def ask(stream: socket.socket, message: bytes) -> Whole:
    """The whole answer, on a connection that stays."""
    stream.sendall(message)
    answer = Whole()
    while not answer.is_done:
        answer.feed(stream.recv(client.READ_BYTES))
    return answer


def converse(stream: socket.socket, **asked: Any) -> dict[str, Any]:
    """A turn that was accepted."""
    answer = ask(stream, post(CONVERSE, asked))
    if answer.status != 202:
        raise client.Broken(f"converse was answered {answer.status}: {bytes(answer.body[:200])!r}")
    return answer.value


def listen(stream: socket.socket, path: str, last_id: str = "") -> Events:
    """Asks for the events; the head has come when this returns."""
    stream.sendall(get(path, last_id))
    answer = Events()
    while not answer.status:
        answer.feed(stream.recv(client.READ_BYTES))
    if answer.status != 200:
        raise client.Broken(f"the events were answered {answer.status}")
    return answer


def hear(stream: socket.socket, answer: Events, until: Callable[[Event], bool]) -> tuple[Event, float]:
    """Reads until an event of that kind has come; with it the moment of the read that brought it."""
    while True:
        now = time.monotonic()
        while event := answer.next():
            if until(event):
                return event, now
            if event.name == "error":
                raise client.Broken(f"the turn failed: {event.data[:200]}")
        if answer.is_done:
            raise client.Broken("the events ended before what was waited for")
        answer.feed(stream.recv(client.READ_BYTES))
