"""A reader's end of one stream: asks, reads into a buffer that is used again, and holds each byte against the pattern.

`client.Answer` would copy every byte twice, and the reader would be what is measured.
"""

from __future__ import annotations

import socket

from .. import client
from . import pattern

HEAD_MOST = 16 * 1024


class Body:
    """The body of one answer, as it comes."""

    def __init__(self, number: int, headers: dict[str, str]):
        self.number, self.position, self.is_done = number, 0, False
        self._is_chunked = headers.get("transfer-encoding") == "chunked"
        # Of the chunk, or of the plain body.
        self._left = 0 if self._is_chunked else int(headers["content-length"])
        # Of a chunk's size line, which may come in two parts.
        self._line = b""
        self._is_last = False

    def feed(self, data: bytearray, at: int, end: int) -> None:
        """Takes `data[at:end]`."""
        with memoryview(data) as view:
            while at < end and not self.is_done:
                if self._left:
                    size = min(self._left, end - at)
                    self._check(view[at : at + size])
                    at += size
                else:
                    at = self._feed_line(data, at, end)

    def _check(self, part: memoryview) -> None:
        """Compares in place: `startswith` takes an offset, and is a memcmp."""
        if not pattern.BYTES.startswith(part, pattern.phase(self.number, self.position)):
            raise client.Broken(f"stream {self.number} has other bytes behind {self.position}")
        self.position += len(part)
        self._left -= len(part)
        self.is_done = not self._is_chunked and self._left == 0

    def _feed_line(self, data: bytearray, at: int, end: int) -> int:
        """A chunk's size, or the empty line behind a chunk; the place behind it."""
        eol = data.find(b"\n", at, end)
        if eol < 0:
            self._line += data[at:end]
            return end
        line = (self._line + data[at:eol]).strip()
        self._line = b""
        if line:
            self._left = int(line.partition(b";")[0], 16)
            self._is_last = self._left == 0
        else:
            self.is_done = self._is_last
        return eol + 1


class Stream:
    """A connection with one request at a time on it."""

    def __init__(self, address: tuple[str, int], receive_buffer: int = 0):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(client.PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._address = address
        self.body: Body | None = None
        self._head = b""

    def connect(self) -> None:
        self.socket.connect(self._address)

    def ask(self, number: int, message: bytes) -> None:
        """`message` is made before the clock runs."""
        self.number, self.body, self._head = number, None, b""
        self.socket.sendall(message)

    def read(self, buffer: bytearray, most: int = 0) -> int:
        """What is there, up to `most` bytes; returns how many of them belong to the body."""
        size = self.socket.recv_into(buffer, most)
        if size == 0:
            raise client.Broken(f"stream {self.number} ended after {self.position} bytes")
        before, at = self.position, 0
        if self.body is None:
            at = self._read_head(buffer, size)
        if self.body is not None:
            self.body.feed(buffer, at, size)
        return self.position - before

    def read_first(self, buffer: bytearray, most: int = 0) -> None:
        """Reads until the body has begun."""
        while not self.read(buffer, most):
            pass

    def read_all(self, buffer: bytearray) -> None:
        while not self.is_done:
            self.read(buffer)

    @property
    def position(self) -> int:
        return self.body.position if self.body else 0

    @property
    def is_done(self) -> bool:
        return self.body is not None and self.body.is_done

    def _read_head(self, buffer: bytearray, size: int) -> int:
        """Keeps what came of the head; the place behind its end, or `size`."""
        kept = len(self._head)
        self._head += buffer[:size]
        head, end, _ = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(self._head) > HEAD_MOST:
                raise client.Broken("a head without an end")
            return size
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip().lower() for name, _, value in pairs}
        if first.split(" ")[1] != "200":
            raise client.Broken(f"answered {first}")
        self.body = Body(self.number, headers)
        return len(head) + 4 - kept

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
