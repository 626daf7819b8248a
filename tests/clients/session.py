"""A voice session as OpenAI's Python SDK holds one, or as a bare WebSocket does where the SDK would hide what is looked at. Every
event that is OpenAI's is held against the SDK's own types, and no id may come twice."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import itertools
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import urlencode

import websockets
from audio import Sound
from conftest import Server
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

PATIENCE_SECONDS = 30.0
MODEL = "gpt-realtime"
# Each event that the SDK knows, by its name.
TYPES = {get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(RealtimeServerEvent)[0])}
# Events of our own, which clients pass over that do not know them.
OURS = "evensong."

Event = dict[str, Any]


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that awaits."""

    @functools.wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*given, **named), 2 * PATIENCE_SECONDS))

    return run


@dataclass(frozen=True)
class Answer:
    """One response, from its first event to its last."""

    events: list[Event]

    def named(self, name: str) -> list[Event]:
        return [event for event in self.events if event["type"] == name]

    def one(self, name: str) -> Event:
        (event,) = self.named(name)
        return event

    @property
    def id(self) -> str:
        return self.one("response.created")["response"]["id"]

    @property
    def item_id(self) -> str:
        return self.one("response.output_item.added")["item"]["id"]

    @property
    def done(self) -> Event:
        return self.one("response.done")["response"]

    @property
    def audio(self) -> bytes:
        parts = [event["delta"] for event in self.named("response.output_audio.delta")]
        return b"".join(base64.b64decode(part, validate=True) for part in parts)

    @property
    def transcript(self) -> str:
        return "".join(event["delta"] for event in self.named("response.output_audio_transcript.delta"))

    @property
    def text(self) -> str:
        return "".join(event["delta"] for event in self.named("response.output_text.delta"))

    def is_spoken(self, text: str) -> None:
        """Asserts that all of it is there, as sound and as words, in the order that clients rely on."""
        done, closed = self.done, self.one("response.output_audio_transcript.done")
        assert done["status"] == "completed", done
        assert self.transcript == closed["transcript"] == text
        assert not self.named("response.output_text.delta")
        Sound.of_pcm(self.audio).is_speech_of(text)
        self.is_in_order("response.output_audio.", "response.output_audio_transcript.")
        (part,) = self.one("response.output_item.done")["item"]["content"]
        assert part["type"] == "output_audio" and part["transcript"] == text, part

    def is_written(self, text: str) -> None:
        """Asserts the same of one without sound."""
        assert self.done["status"] == "completed", self.done
        assert self.text == self.one("response.output_text.done")["text"] == text
        assert not any("audio" in event["type"] for event in self.events)
        self.is_in_order("response.output_text.")
        (part,) = self.one("response.output_item.done")["item"]["content"]
        assert part["type"] == "output_text" and part["text"] == text, part

    def is_in_order(self, *streams: str) -> None:
        names = [event["type"] for event in self.events]
        begins = ["response.created", "response.output_item.added", "response.content_part.added"]
        ends = ["response.content_part.done", "response.output_item.done", "response.done"]
        for stream in streams:
            assert names.count(f"{stream}done") == 1, names
            first, last = names.index(f"{stream}delta"), len(names) - 1 - names[::-1].index(f"{stream}delta")
            places = [*map(names.index, begins), first, last, names.index(f"{stream}done"), *map(names.index, ends)]
            assert places == sorted(places), names
        assert all(names.count(name) == 1 for name in begins + ends), names
        for name in ("conversation.item.added", "conversation.item.done"):
            assert [event["item"]["id"] for event in self.named(name)] == [self.item_id], names
        for event in self.events:
            assert event.get("response_id", self.id) == self.id, event
            assert event.get("item_id", self.item_id) == self.item_id, event


class Session:
    """One end of a session, and all that it was told."""

    def __init__(self, connection: AsyncRealtimeConnection | ClientConnection, before: list[Event] | None = None):
        self.connection = connection
        # Of the same session on an earlier connection, too.
        self.events: list[Event] = list(before or [])
        self._own = itertools.count(1)

    @property
    def last_id(self) -> str:
        """Behind which it can be gone on with."""
        return self.events[-1]["event_id"]

    @property
    def token(self) -> str:
        """The latest by which it can be gone on with."""
        return [event["token"] for event in self.events if event["type"] == "evensong.resume_token"][-1]

    async def next(self) -> Event:
        """The next event, which has an id of its own and is what the SDK takes it for."""
        message = await asyncio.wait_for(self._message(), PATIENCE_SECONDS)
        event = json.loads(message)
        name = event["type"]
        if not name.startswith(OURS):
            TYPES[name].model_validate(event)
        # What is told of the connection itself stands in no log.
        if name != "evensong.resumed" and "session_id" not in event:
            assert event["event_id"] not in {other["event_id"] for other in self.events}, event
        self.events.append(event)
        return event

    async def _message(self) -> str | bytes:
        if isinstance(self.connection, AsyncRealtimeConnection):
            return await self.connection.recv_bytes()
        message = await self.connection.recv()
        assert isinstance(message, str), "events are text"
        return message

    async def until(self, *names: str) -> Event:
        """Reads on until an event of one of these names."""
        while (event := await self.next())["type"] not in names:
            assert event["type"] != "error", event
        return event

    async def send(self, event: Event) -> str:
        """Sends an event under an id of its own, which it gives."""
        event = {"event_id": f"ours_{next(self._own)}"} | event
        await self.write(json.dumps(event))
        return event["event_id"]

    async def write(self, message: str | bytes) -> None:
        """Sends a message as it is."""
        if isinstance(self.connection, AsyncRealtimeConnection):
            await self.connection.send_raw(message)
        else:
            await self.connection.send(message)

    def raw(self, frame: bytes) -> None:
        """Sends bytes that are no message."""
        self._websocket.transport.write(frame)

    async def ask(self, text: str, **response: Any) -> None:
        """Something that is said, and that an answer is wanted."""
        await self.send({"type": "conversation.item.create", "item": user(text)})
        await self.send({"type": "response.create", **({"response": response} if response else {})})

    async def say(self, text: str, **response: Any) -> Answer:
        """The same, and the answer to its end."""
        await self.ask(text, **response)
        return await self.answer()

    async def answer(self) -> Answer:
        """The answer that has begun, or begins next, when it is over."""
        await self.until("response.done")
        return self.latest()

    def latest(self) -> Answer:
        """What there is of the last one."""
        begins = [place for place, event in enumerate(self.events) if event["type"] == "response.created"]
        return Answer(self.events[begins[-1] :])

    def is_over(self) -> bool:
        """Whether an answer was given, to its end."""
        return any(event["type"] == "response.done" for event in self.events)

    async def refusal(self, named: str | None = None) -> Event:
        """The next error, which names the event of ours that it is about."""
        while (event := await self.next())["type"] != "error":
            pass
        assert event["error"]["message"] and event["error"]["type"], event
        if named is not None:
            assert event["error"].get("event_id") == named, event
        return event["error"]

    async def ends(self) -> int:
        """Reads to the end, which is the server's; the code that it closed with."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.next()
        return self.code

    @property
    def _websocket(self) -> ClientConnection:
        connection = self.connection
        return connection._connection if isinstance(connection, AsyncRealtimeConnection) else connection

    @property
    def code(self) -> int | None:
        """The code of the close that came, if one did."""
        return self._websocket.close_code

    async def cut(self) -> None:
        """The connection is gone, without a word; what had come by then is read."""
        self._websocket.transport.abort()
        await self.ends()


def user(text: str) -> Event:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


@contextlib.asynccontextmanager
async def sdk(server: Server, key: str = "none", **query: str) -> AsyncIterator[Session]:
    """A session on OpenAI's SDK, which knows nothing of Evensong but where it is."""
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        async with client.realtime.connect(model=MODEL, extra_query=query) as connection:
            yield await _greeted(Session(connection))


@contextlib.asynccontextmanager
async def bare(
    server: Server,
    protocols: list[str] | None = None,
    before: list[Event] | None = None,
    greeted: bool = True,
    **query: str,
) -> AsyncIterator[Session]:
    """A session on a WebSocket; with `greeted`, its first events have been read."""
    url = f"{server.url}/v1/realtime?{urlencode({'model': MODEL} | query)}".replace("http", "ws", 1)
    # Compression is offered, as most clients do, and not taken.
    async with websockets.connect(url, subprotocols=protocols, max_size=None) as connection:
        assert not connection.protocol.extensions
        session = Session(connection, before)
        yield (await _greeted(session) if greeted else session)


async def _greeted(session: Session) -> Session:
    assert (await session.next())["type"] == "session.created", session.events
    token = await session.until("evensong.resume_token")
    assert token["token"] and token["grace_seconds"] > 0, token
    return session

