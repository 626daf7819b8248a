"""A realtime server of another make, as OpenAI's is, for what stands before it: what it says is in upstream_session.py. It keeps
word for word what it was sent and what it sent, sees each connection from its first packet to how it ended, and misbehaves in
every way that it is told to.

    python realtime_upstream.py [PORT]

prints where it is as one line of JSON, `listen` (a base URL) and `control`, and ends with its standard input. `control` takes

    GET | PUT | DELETE /manners      how it behaves (`Manners`): all of them; those that are named; as at the start
    GET | DELETE /links              connections that were made, from the first; those that are over are forgotten
    GET /links/N, /links/N/audio     one of them with every message; the samples that it brought (-1: the latest)
    POST /links/N/do                 something that it does there now (`Deed`)
    PUT /door {"open": false}        whether anything listens at its port
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi import Response as Answer
from pydantic import BaseModel
from upstream_session import Event, UpstreamSession, made
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

PATH = "/v1/realtime"
# More than a test brings about; what lies beyond is counted and not kept.
MESSAGES_MOST = 20_000
LINKS_MOST = 4_000
# Little lies in the kernel when it does not read, so that whoever sends finds out soon.
RECEIVE_BUFFER_BYTES = 8 * 1024
# On the loopback, segments are so large that a kernel keeps 2.5 MB of what is sent; as on an Ethernet, it is some tens of KB.
SEGMENT_BYTES = 1400
OVERSIZE_BYTES = 256 * 1024 + 1


class Manners(BaseModel, extra="forbid"):
    """How it behaves, on all connections; what comes with the handshake holds for those that come from then on."""

    # With which status a handshake is refused; 0: it is not.
    refuse: int = 0
    # Whether a handshake is never answered, and how late else.
    hangs: bool = False
    handshake_ms: int = 0
    # The one key that is good; empty: any.
    key: str = ""
    # Whether refusals and errors repeat the key, as some servers do.
    tells_key: bool = False
    # Whether it begins with `session.created`, and answers `session.update` by an error instead.
    greets: bool = True
    refuses_updates: bool = False
    # Whether it reads what comes.
    reads: bool = True
    # What it answers: `{question}` is what it was asked last, `{voice}` whose it is; and how fast, a tenth of a second at a time.
    answer: str = "You said: {question}"
    pace_ms: int = 5
    # After so many parts of an answer's sound it ends the connection, by `end`; 0: it does not.
    ends_after: int = 0
    end: Literal["close", "reset"] = "close"
    code: int = 1011
    reason: str = "The server had an error"


class Deed(BaseModel, extra="forbid"):
    """Something that it does on one connection. Parts are sent as the fragments of one message."""

    what: Literal["close", "reset", "send", "raw", "oversize", "error", "flood", "calm"]
    code: int = 1000
    reason: str = ""
    text: str = ""
    base64: str = ""
    parts: list[str] = []
    bytes: int = OVERSIZE_BYTES


class Link(ServerConnection):
    """A connection from its first packet on."""

    def __init__(self, *given: Any, **named: Any):
        super().__init__(*given, **named)
        self.state_now = "connected"
        self.record: Event = {
            "path": None, "query": {}, "headers": {}, "key": None, "accepted_at": None, "asked_at": None, "opened_at": None,
            "ended_at": None, "received": [], "sent": [], "received_count": 0, "sent_count": 0, "sent_bytes": 0, "lost": None,
        }  # fmt: skip
        self.audio = bytearray()
        self.session: UpstreamSession | None = None
        self.flood: asyncio.Task[None] | None = None
        self.sounds = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.record["accepted_at"] = time.monotonic()
        House.links.append(self)
        super().connection_made(transport)

    def connection_lost(self, fault: Exception | None) -> None:
        self.record |= {"ended_at": time.monotonic(), "lost": repr(fault) if fault else None}
        self.state_now = "over"
        if self.flood:
            self.flood.cancel()
        super().connection_lost(fault)

    async def tell(self, event: Event) -> None:
        """Sends an event, and does what is to be done behind it."""
        manners = House.manners
        if manners.tells_key and event["type"] == "error":
            event["error"]["message"] += f" (key: {self.record['key']})"
        await self.write(json.dumps(event))
        if event["type"] == "response.output_audio.delta":
            self.sounds += 1
            if self.sounds == manners.ends_after:
                await self.do(Deed(what=manners.end, code=manners.code, reason=manners.reason))

    async def write(self, message: str | bytes | list[str]) -> None:
        whole = "".join(message) if isinstance(message, list) else message
        # A place is taken before it is sent: what is sent meanwhile stands behind it.
        self.record["sent_count"] += 1
        if len(self.record["sent"]) < MESSAGES_MOST:
            self.record["sent"].append(whole if isinstance(whole, str) else f"{len(whole)} bytes")
        await self.send(message)
        self.record["sent_bytes"] += len(whole)

    def got(self, message: str | bytes) -> None:
        self.record["received_count"] += 1
        if len(self.record["received"]) >= MESSAGES_MOST:
            return
        self.record["received"].append({"at": time.monotonic(), "text": message if isinstance(message, str) else repr(message)})
        # Whatever is wrong with it is told by the session.
        with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
            event = json.loads(message)
            if event.get("type") == "input_audio_buffer.append":
                self.audio += base64.b64decode(event["audio"])

    async def do(self, deed: Deed) -> None:
        match deed.what:
            case "close":
                # The other side may never answer.
                House.keep(self.close(deed.code, deed.reason))
            case "reset":
                self.reset()
            case "send":
                await self.write(deed.parts or (base64.b64decode(deed.base64) if deed.base64 else deed.text))
            case "raw":
                self.transport.write(base64.b64decode(deed.base64))
            case "oversize":
                event = json.dumps({"type": "rate_limits.updated", "event_id": made("event"), "rate_limits": []})
                await self.write(event.ljust(deed.bytes))
            case "error":
                said = {"type": "server_error", "code": deed.reason or None, "message": deed.text, "param": None, "event_id": None}
                await self.tell({"type": "error", "event_id": made("event"), "error": said})
            case "flood":
                self.flood = self.flood or asyncio.create_task(self.pour())
            case "calm":
                if self.flood:
                    self.flood.cancel()

    def reset(self) -> None:
        with contextlib.suppress(OSError):
            end = self.transport.get_extra_info("socket")
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def pour(self) -> None:
        """An answer's sound, without an end and as fast as it is taken."""
        ids = {"response_id": made("resp"), "item_id": made("item"), "output_index": 0, "content_index": 0}
        delta = base64.b64encode(bytes(9_600)).decode()
        with contextlib.suppress(ConnectionClosed):
            while True:
                event = {"type": "response.output_audio.delta", "event_id": made("event")} | ids | {"delta": delta}
                self.record["sent_count"] += 1
                await self.send(text := json.dumps(event))
                self.record["sent_bytes"] += len(text)

    def summary(self) -> Event:
        got = self.protocol.close_rcvd
        told = {name: value for name, value in self.record.items() if name not in ("received", "sent")}
        return told | {
            "state": self.state_now,
            "close_received": {"code": got.code, "reason": got.reason} if got else None,
            # Whether it was the other side that began to close.
            "closed_by_peer": bool(got) and self.protocol.close_rcvd_then_sent is not False,
            "audio_bytes": len(self.audio),
            "turns": self.session.turns() if self.session else [],
        }


class House:
    """The one server of this process."""

    manners = Manners()
    links: list[Link] = []
    server: Server | None = None
    port = 0
    # What is under way for nobody in particular.
    _kept: set[asyncio.Task[Any]] = set()

    @classmethod
    def keep(cls, work: Awaitable[Any]) -> None:
        async def quietly() -> None:
            with contextlib.suppress(Exception):
                await work

        task = asyncio.create_task(quietly())
        cls._kept.add(task)
        task.add_done_callback(cls._kept.discard)

    @classmethod
    async def open(cls, port: int) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        listener.bind(("127.0.0.1", port))
        listener.listen(512)
        cls.port = listener.getsockname()[1]
        cls.server = await serve(
            attend, sock=listener, process_request=receive, create_connection=Link, compression=None, open_timeout=None,
            close_timeout=5, max_size=16 * 1024 * 1024, max_queue=1,
        )  # fmt: skip

    @classmethod
    async def shut(cls) -> None:
        """Nothing listens any more; connections that are there stay."""
        if cls.server:
            # Its own `close` waits for those who are still connecting.
            cls.server.server.close()
            cls.server = None


async def receive(link: Link, request: Request) -> Response | None:
    """The handshake, as far as it is refused, late or never answered."""
    manners, record = House.manners, link.record
    link.state_now = "asked"
    parts = urlsplit(request.path)
    bearer = request.headers.get("Authorization", "")
    key = bearer.removeprefix("Bearer ")
    record |= {"asked_at": time.monotonic(), "path": parts.path, "query": parse_qs(parts.query, keep_blank_values=True),
               "headers": {name.lower(): value for name, value in request.headers.raw_items()}, "key": key}  # fmt: skip
    if manners.hangs:
        await link.connection_lost_waiter
    if manners.handshake_ms:
        await asyncio.wait([link.connection_lost_waiter], timeout=manners.handshake_ms / 1000)
    told = f": {key}" if manners.tells_key else ""
    if manners.refuse:
        return refusal(link, manners.refuse, "server_error", f"The server is told to refuse this{told}")
    if not bearer.startswith("Bearer ") or not key or manners.key not in ("", key):
        return refusal(link, 401, "invalid_api_key", f"Incorrect API key provided{told}. You can find your API key elsewhere.")
    if parts.path != PATH:
        return refusal(link, 404, "unknown_url", f"Invalid URL (GET {parts.path})")
    if "model" not in record["query"]:
        return refusal(link, 400, "missing_required_parameter", "You must provide a model parameter.")
    return None


def refusal(link: Link, status: int, code: str, message: str) -> Response:
    error = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    response = link.respond(status, json.dumps(error))
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    return response


async def attend(link: Link) -> None:
    link.state_now = "open"
    link.record["opened_at"] = time.monotonic()
    link.session = session = UpstreamSession(link.record["query"]["model"][0], House.manners, link.tell)
    try:
        if House.manners.greets:
            await session.begin()
        while True:
            while not House.manners.reads:
                await asyncio.sleep(0.02)
            # Those that came by without being read would be answered late: they were not read.
            message = await link.recv()
            link.got(message)
            if House.manners.refuses_updates and '"session.update"' in str(message):
                await session.fail("invalid_value", "The server is told to refuse this.", "session")
            else:
                # What it is told from now on holds for what it answers from now on.
                session.manners = House.manners
                await session.take(message if isinstance(message, str) else "")
    except ConnectionClosed:
        pass
    finally:
        await session.end()


# --- How it is told what to do ------------------------------------------------------------------------


def control() -> FastAPI:
    app = FastAPI()

    def at(number: int) -> Link:
        try:
            return House.links[number]
        except IndexError as fault:
            raise HTTPException(404, f"there are {len(House.links)}") from fault

    @app.get("/manners")
    async def manners() -> Manners:
        return House.manners

    @app.put("/manners")
    async def behave(wanted: dict[str, Any]) -> Manners:
        House.manners = Manners.model_validate(House.manners.model_dump() | wanted)
        return House.manners

    @app.delete("/manners")
    async def as_at_first() -> Manners:
        House.manners = Manners()
        return House.manners

    @app.get("/links")
    async def links() -> list[Event]:
        return [link.summary() for link in House.links]

    @app.delete("/links")
    async def forget() -> None:
        House.links = [link for link in House.links if link.state_now != "over"]

    @app.get("/links/{number}")
    async def one(number: int) -> Event:
        link = at(number)
        return link.record | link.summary()

    @app.get("/links/{number}/audio")
    async def audio(number: int) -> Answer:
        return Answer(bytes(at(number).audio), media_type="audio/pcm")

    @app.post("/links/{number}/do")
    async def do(number: int, deed: Deed) -> None:
        # What is refused while it is sent was sent.
        with contextlib.suppress(ConnectionClosed):
            await at(number).do(deed)

    @app.put("/door")
    async def door(wanted: dict[str, bool]) -> None:
        if not wanted["open"]:
            await House.shut()
        elif not House.server:
            await House.open(House.port)

    return app


async def main(port: int) -> None:
    await House.open(port)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own = uvicorn.Server(uvicorn.Config(control(), log_level="warning", lifespan="off"))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        print(json.dumps({"listen": f"http://127.0.0.1:{House.port}/v1", "control": f"http://{address}"}), flush=True)
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(sys.stdin, lambda: None if sys.stdin.buffer.read1(4096) else ended.set())
        serving = asyncio.create_task(own.serve(sockets=[listener]))
        await ended.wait()
        for link in House.links:
            link.reset()
        own.should_exit = own.force_exit = True
        await serving


# --- For tests ----------------------------------------------------------------------------------------


class Upstream:
    """The running one, as a test talks to it."""

    def __init__(self, url: str, control: str):
        self.url = url
        self.http = httpx.Client(base_url=control, timeout=10)
        # Those before are another test's.
        self.first = 0

    def behaves(self, **manners: Any) -> None:
        self._ask("PUT", "/manners", json=manners)

    def does(self, what: str, link: int = -1, **how: Any) -> None:
        self._ask("POST", f"/links/{self._place(link)}/do", json={"what": what} | how)

    def is_there(self, is_so: bool) -> None:
        """Whether anything listens at its port."""
        self._ask("PUT", "/door", json={"open": is_so})

    def forgets(self) -> None:
        """As at the start: its manners, and the connections that are over."""
        self._ask("DELETE", "/manners")
        self._ask("PUT", "/door", json={"open": True})
        self._ask("DELETE", "/links")
        self.first = 0
        self.first = len(self.links())

    def links(self) -> list[Event]:
        """Connections that were made since it forgot, the first one first."""
        return self._ask("GET", "/links").json()[self.first :]

    def link(self, number: int = -1) -> Event:
        """One connection, with all that was said on it."""
        return self._ask("GET", f"/links/{self._place(number)}").json()

    def received(self, number: int = -1) -> list[Event]:
        """What the client sent there, parsed."""
        return [json.loads(message["text"]) for message in self.link(number)["received"]]

    def sent(self, number: int = -1) -> list[Event]:
        return [json.loads(text) for text in self.link(number)["sent"]]

    def audio(self, number: int = -1) -> bytes:
        return self._ask("GET", f"/links/{self._place(number)}/audio").content

    def _place(self, number: int) -> int:
        return number if number < 0 else self.first + number

    def alive(self) -> list[Event]:
        return [link for link in self.links() if link["state"] != "over"]

    async def until(self, is_so: Callable[[list[Event]], Any], within: float = 5.0) -> list[Event]:
        """Waits until that can be said of its connections."""
        deadline = time.monotonic() + within
        while not is_so(links := self.links()):
            assert time.monotonic() < deadline, f"not so after {within} s: {links}"
            await asyncio.sleep(0.02)
        return links

    def _ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        answer = self.http.request(method, path, **given)
        assert answer.status_code == 200, answer.text
        return answer


@contextlib.contextmanager
def realtime_upstream() -> Iterator[Upstream]:
    """A running one."""
    command = [sys.executable, str(Path(__file__).resolve())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            where = json.loads(process.stdout.readline())
            upstream = Upstream(where["listen"], where["control"])
            deadline = time.monotonic() + 10
            while True:
                with contextlib.suppress(httpx.TransportError):
                    upstream.links()
                    break
                assert time.monotonic() < deadline, "it does not start"
                time.sleep(0.05)
            yield upstream
            upstream.http.close()
        finally:
            process.stdin.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
