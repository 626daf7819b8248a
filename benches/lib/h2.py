"""Just enough of HTTP/2 (RFC 9113) to hold many streams open on few sockets: requests whose answers are not
taken, since the window of each stream is small. Header fields are sent as literals, answers' are not decoded.
"""

from __future__ import annotations

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
INITIAL_WINDOW_SIZE = 4
# A stream's window: its head and a little audio come through, the rest stays with the server.
WINDOW = 512


class Refused(Exception):
    """A stream was reset, or the connection was given up."""


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    """A frame with its nine bytes of header."""
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def _field(name: bytes, value: bytes) -> bytes:
    """A literal header field without indexing and with a new name (RFC 7541, 6.2.2)."""
    return b"\x00" + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest = len(text) - 127
    return b"\x7f" + bytes([rest & 0x7F | (0x80 if rest > 127 else 0)]) + (bytes([rest >> 7]) if rest > 127 else b"") + text


class Connection:
    """One connection; `heads` are the streams whose answer has begun."""

    def __init__(self, address: tuple[str, int]):
        self.socket = socket.create_connection(address, timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.heads: set[int] = set()
        self._raw, self._next = b"", 1
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, WINDOW)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))

    def post(self, path: bytes, body: bytes) -> int:
        """Sends a request; its stream."""
        stream, self._next = self._next, self._next + 2
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path)]
        fields += [(b":authority", b"localhost"), (b"content-type", b"application/json")]
        head = b"".join(_field(*field) for field in fields)
        self.socket.sendall(frame(HEADERS, END_HEADERS, stream, head) + frame(DATA, END_STREAM, stream, body))
        return stream

    def until(self, stream: int) -> None:
        """Reads until the answer of `stream` has begun."""
        while stream not in self.heads:
            self._read()

    def _read(self) -> None:
        received = self.socket.recv(65536)
        if not received:
            raise Refused("the connection was closed")
        self._raw += received
        while len(self._raw) >= 9 and len(self._raw) >= 9 + (length := int.from_bytes(self._raw[:3], "big")):
            kind, flags, stream = self._raw[3], self._raw[4], int.from_bytes(self._raw[5:9], "big")
            body, self._raw = self._raw[9 : 9 + length], self._raw[9 + length :]
            self._take(kind, flags, stream, body)

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == HEADERS:
            self.heads.add(stream)
        elif kind in (RST_STREAM, GOAWAY):
            raise Refused(f"stream {stream} was refused: {body.hex()}")
        elif kind in (SETTINGS, PING) and not flags & ACK:
            answer = body if kind == PING else b""
            self.socket.sendall(frame(kind, ACK, 0, answer))
