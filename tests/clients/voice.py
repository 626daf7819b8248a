"""A voice front-end as anybody would write one on an HTTP client: it asks, follows events, and keeps what it hears; and
the language model that it talks to, which says and does what the question asks for (tests/stubs/llm.mjs)."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from conftest import Server, skip

STUB = Path(__file__).resolve().parents[1] / "stubs/llm.mjs"
LAST = ("done", "interrupted", "error")
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Event:
    """One server-sent event, and when it came."""

    name: str
    id: str
    value: dict[str, Any]
    at: float

    @property
    def epoch(self) -> int:
        return int(self.id.split(".")[0])


@dataclass
class Heard:
    """What one listener was told."""

    events: list[Event] = field(default_factory=list)

    def named(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]

    @property
    def audio(self) -> bytes:
        parts = [event.value["audio"] for event in self.named("audio")]
        return b"".join(base64.b64decode(part, validate=True) for part in parts)

    @property
    def text(self) -> str:
        return "".join(event.value["text"] for event in self.named("text"))

    @property
    def words(self) -> list[dict[str, Any]]:
        return [word for event in self.named("audio") for word in event.value.get("words", [])]

    @property
    def last(self) -> Event:
        """The turn's last event, which must be one of the three, and have none behind it."""
        ends = [place for place, event in enumerate(self.events) if event.name in LAST]
        assert ends == [len(self.events) - 1], self.names
        return self.events[-1]

    @property
    def done(self) -> dict[str, Any]:
        assert self.last.name == "done", self.last
        return self.last.value


class Refused(Exception):
    """Anything but what was asked for."""

    def __init__(self, answer: httpx.Response):
        super().__init__(f"{answer.status_code} {answer.text[:300]}")
        self.status = answer.status_code
        self.problem: dict[str, Any] = answer.json() if answer.content else {}


class Front:
    """A front-end; its connections are closed with its `with` block, and what its dialogues left with them."""

    def __init__(self, server: Server, key: str = ""):
        self.server = server
        self.key = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=8)
        self.http = httpx.Client(base_url=server.url, timeout=PATIENCE_SECONDS, limits=limits)
        self.threads = ThreadPoolExecutor(16)
        self.dialogues: set[str] = set()

    def __enter__(self) -> Front:
        return self

    def __exit__(self, *_: object) -> None:
        # Those that nobody listened to would wait for a listener for a while.
        for dialogue in self.dialogues:
            self.delete(dialogue)
        self.http.close()
        self.threads.shutdown(wait=True, cancel_futures=True)

    def post(self, body: Any, **headers: str) -> httpx.Response:
        """As it is, whatever the answer."""
        answer = self.http.post("/api/voice/converse", json=body, headers=self.key | headers)
        if answer.status_code == 202:
            self.dialogues.add(answer.json()["dialogueId"])
        return answer

    def converse(self, text: str, key: str = "", **asked: Any) -> dict[str, Any]:
        answer = self.post({"text": text} | asked, **({"Idempotency-Key": key} if key else {}))
        if answer.status_code != 202:
            raise Refused(answer)
        return answer.json()

    @contextlib.contextmanager
    def events(
        self, told: dict[str, Any], last_id: str = "", follow: bool = False
    ) -> Iterator[Iterator[Event]]:
        """The events as they come; the connection is closed with the block."""
        url = told["streams"]["events"] + ("&follow=1" if follow else "")
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        with self.http.stream("GET", url, headers=headers) as answer:
            if answer.status_code != 200:
                answer.read()
                raise Refused(answer)
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield parsed(answer.iter_lines())

    def hear(self, told: dict[str, Any], last_id: str = "") -> Heard:
        """All events of the turn, from now to the end of the stream, which is the server's."""
        with self.events(told, last_id) as events:
            return Heard([event for event in events if event.name != "heartbeat"])

    def sound(self, told: dict[str, Any]) -> bytes:
        """The turn as plain bytes."""
        answer = self.http.get(told["streams"]["audio"])
        if answer.status_code != 200:
            raise Refused(answer)
        return answer.content

    def say(self, text: str, **asked: Any) -> Heard:
        """Asks, and hears all of it."""
        return self.hear(self.converse(text, **asked))

    def heard(self, dialogue: str, **asked: Any) -> dict[str, Any]:
        answer = self.http.post(f"/api/voice/dialogues/{dialogue}/heard", json=asked, headers=self.key)
        if answer.status_code != 200:
            raise Refused(answer)
        return answer.json()

    def delete(self, dialogue: str) -> int:
        return self.http.delete(f"/api/voice/dialogues/{dialogue}", headers=self.key).status_code


def parsed(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events by their standard, as far as these are; comments are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            if "data" in fields:
                value = json.loads(fields["data"])
                yield Event(fields.get("event", "message"), fields.get("id", ""), value, time.monotonic())
            fields = {}
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value


def until(events: Iterator[Event], name: str, into: Heard | None = None) -> Event:
    """Reads on until an event of that name."""
    for event in events:
        if into is not None and event.name != "heartbeat":
            into.events.append(event)
        if event.name == name:
            return event
    raise AssertionError(f"the stream ended before {name}")


class Model:
    """The language model, as it tells what it saw."""

    def __init__(self, url: str):
        self.url = url
        self.topics = 0

    def topic(self) -> int:
        """A number for one turn."""
        self.topics += 1
        return self.topics

    def turns(self, topic: int) -> list[dict[str, Any]]:
        """What it did for that turn, once for each time that it was asked."""
        stats = httpx.get(f"{self.url}/stats").json()
        return [turn for turn in stats["turns"] if turn["topic"] == topic]

    def turn(self, topic: int) -> dict[str, Any]:
        (turn,) = self.turns(topic)
        return turn

    def ended(self, topic: int, within: float = 5.0) -> dict[str, Any]:
        """The same, when its end of it is over."""
        deadline = time.monotonic() + within
        while not (turns := self.turns(topic)) or turns[-1]["state"] == "open":
            assert time.monotonic() < deadline, f"its request is {turns} after {within} s"
            time.sleep(0.01)
        return turns[-1]

    def asked(self, topic: int) -> list[dict[str, str]]:
        """The messages of the last request whose question has this topic."""
        requests = httpx.get(f"{self.url}/requests").json()
        named = [
            r["body"]["messages"]
            for r in requests
            if f"topic={topic} " in r["body"]["messages"][-1]["content"]
        ]
        return named[-1]


@contextlib.contextmanager
def language_model() -> Iterator[Model]:
    """A running one."""
    if not shutil.which("node"):
        skip("node is not installed, which runs the language model of the tests")
    with subprocess.Popen(
        ["node", STUB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Model(json.loads(process.stdout.readline())["listen"])
        finally:
            process.stdin.close()
