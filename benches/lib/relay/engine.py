"""The stub upstream's own process: answers `POST /v1/audio/speech` with the pattern, as fast as it is taken.

A thread a connection, which waits inside the kernel's send and needs no interpreter meanwhile; one more thread sees
clients leave. What is sent stands in prepared memory, so that this process is not what limits the others.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import threading
import time
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Any, BinaryIO

from . import pattern

# What an engine sends as one chunk, unless told otherwise; nginx, HAProxy and Evensong cut it anew.
CHUNK = 64 * 1024
# `struct tcp_info`: tcpi_bytes_acked stands behind 8 bytes, 24 words of 32 bits and two of 64.
BYTES_ACKED = struct.Struct("=120xQ")
SIOCOUTQ = 0x5411
# Threads that wait for connections.
SPARE = 4
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


@dataclass
class Record:
    """What became of one request. Times are of `monotonic_ns`, which all processes of a machine share."""

    number: int
    size: int
    # What the connection had carried before it, heads and framing included as in all that follows.
    base: int = 0
    # Written by the engine; and of it, what has reached the other side.
    given: int = 0
    taken: int = 0
    is_done: bool = False
    gone_ns: int = 0


@dataclass
class Connection:
    """One accepted socket; `record` is the request that is being answered."""

    socket: socket.socket
    record: Record | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def see_gone(self) -> None:
        """The other side has left; also ends a send that waits for it."""
        now = time.monotonic_ns()
        with self.lock:
            if self.record and not self.record.is_done and not self.record.gone_ns:
                self.record.gone_ns = now
                self._count()
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the thread that sends was first

    def look(self) -> None:
        with self.lock:
            if self.record and not self.record.gone_ns:
                self._count()

    def begin(self, record: Record) -> None:
        record.base = self._acked()
        with self.lock:
            self.record = record

    def end(self) -> None:
        with self.lock:
            self.record.is_done = True

    def _acked(self) -> int:
        raw = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.size)
        return BYTES_ACKED.unpack(raw)[0]

    def _count(self) -> None:
        try:
            queued = struct.unpack("i", fcntl.ioctl(self.socket, SIOCOUTQ, b"\0" * 4))[0]
            self.record.taken = self._acked() - self.record.base
        except (OSError, ValueError):
            return  # closed meanwhile; what was counted last stands
        self.record.given = self.record.taken + queued


class Engine:
    """All connections, and the records of all requests so far."""

    def __init__(self, send_buffer: int, chunk: int):
        self.chunk = chunk
        self.lock, self.waiting = threading.Lock(), 0
        self.records: list[Record] = []
        self.connections: dict[int, Connection] = {}
        self.watched = select.epoll()
        self.listener = socket.socket()
        if send_buffer:
            # Before listen, so that accepted sockets have it from their first byte.
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(4096)
        threading.Thread(target=self.watch, daemon=True).start()
        self._count_waiting(0)

    def work(self) -> None:
        """One thread: accepts, answers until the other side leaves, and is there for the next one. The system wakes a
        thread that waits sooner than it begins a new one, which would be measured."""
        while True:
            accepted, _ = self.listener.accept()
            self._count_waiting(-1)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = self.connections[accepted.fileno()] = Connection(accepted)
            # Without EPOLLIN: what waits to be read is the business of this thread.
            self.watched.register(accepted, select.EPOLLRDHUP | select.EPOLLONESHOT)
            self._serve(connection)
            self._count_waiting(1)

    def _count_waiting(self, change: int) -> None:
        with self.lock:
            self.waiting += change
            missing, self.waiting = SPARE - self.waiting, max(SPARE, self.waiting)
        for _ in range(missing):
            threading.Thread(target=self.work, daemon=True).start()

    def watch(self) -> None:
        while True:
            for number, _ in self.watched.poll():
                # By now the descriptor may be another connection's, whose other side is still there.
                connection = self.connections.get(number)
                if connection and _has_left(connection.socket):
                    connection.see_gone()

    def look(self) -> list[dict[str, Any]]:
        for connection in list(self.connections.values()):
            connection.look()
        return [asdict(record) for record in self.records]

    def _serve(self, connection: Connection) -> None:
        try:
            with connection.socket.makefile("rb") as requests:
                while (body := _request(requests)) is not None:
                    self._answer(connection, body)
        except OSError:
            connection.see_gone()
        finally:
            # First forgotten, then closed: a new connection may get the same descriptor at once.
            self.connections.pop(connection.socket.fileno(), None)
            connection.socket.close()

    def _answer(self, connection: Connection, body: bytes) -> None:
        if not body:
            connection.socket.sendall(NOT_FOUND)  # somebody looks what else there is
            return
        record = Record(*pattern.asked(body))
        self.records.append(record)
        connection.begin(record)
        self._speak(connection.socket, record)
        connection.end()

    def _speak(self, to: socket.socket, record: Record) -> None:
        framing = b"transfer-encoding: chunked" if self.chunk else b"content-length: %d" % record.size
        head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\n%s\r\n\r\n" % framing
        whole = memoryview(pattern.BYTES)
        step = self.chunk or pattern.PIECE
        for position in range(0, record.size, step):
            size = min(step, record.size - position)
            begin = pattern.phase(record.number, position)
            parts = [head, whole[begin : begin + size]]
            if self.chunk:
                last = b"\r\n0\r\n\r\n" if position + size == record.size else b"\r\n"
                parts = [head + b"%x\r\n" % size, parts[1], last]
            _send(to, parts)
            head = b""


def _has_left(one: socket.socket) -> bool:
    poll = select.poll()
    try:
        poll.register(one, select.POLLRDHUP)
    except ValueError:
        return False  # closed meanwhile by its own thread
    return bool(poll.poll(0))


def _send(to: socket.socket, parts: list[bytes | memoryview]) -> None:
    """All of it: a send that blocks is cut short by nothing but the other side's leaving."""
    sent, size = to.sendmsg(parts), sum(map(len, parts))
    if sent < size:
        to.sendall(b"".join(parts)[sent:])


def _request(requests: BinaryIO) -> bytes | None:
    """The body of the next request; none at the connection's end."""
    length, is_chunked = 0, False
    if not requests.readline():
        return None
    while line := requests.readline().strip().lower():
        name, _, value = line.partition(b":")
        if name == b"content-length":
            length = int(value)
        is_chunked |= name == b"transfer-encoding"
    if not is_chunked:
        return requests.read(length)
    body = b""
    while size := int(requests.readline() or b"0", 16):
        body += requests.read(size)
        requests.readline()
    requests.readline()
    return body


def run(pipe: Pipe, send_buffer: int, chunk: int) -> None:
    """Answers each word on `pipe` with the records, until the pipe is closed."""
    threading.stack_size(256 * 1024)
    engine = Engine(send_buffer, chunk)
    pipe.send(engine.listener.getsockname())
    try:
        while pipe.recv():
            pipe.send(engine.look())
    except EOFError:
        pass
