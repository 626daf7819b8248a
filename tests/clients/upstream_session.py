"""One session of the realtime server that realtime_upstream.py is: OpenAI's events under the names and in the order that theirs
has them, with a voice of tones, an ear that hears when somebody speaks by loudness alone, and a memory that can be looked at.
Sound is PCM, or a telephone's.
What is said or written down depends on nothing but the text or the samples, so tests know each byte beforehand."""

from __future__ import annotations

import array
import asyncio
import base64
import binascii
import bisect
import contextlib
import functools
import json
import math
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

RATE = 24_000
BYTES_A_MS = RATE * 2 // 1000
WINDOW_MS = 20
# Of full scale about -36 dB: above any noise, below any voice.
LOUD_RMS = 500
# So many loud windows are somebody who speaks, fewer are a click.
LOUD_WINDOWS = 3
# What there must be for somebody to have said something.
COMMIT_LEAST_MS = 100
WORD_SECONDS = 0.2
DELTA_BYTES = 100 * BYTES_A_MS
ID_MOST = 32
VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
SERVER_VAD = {
    "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200, "idle_timeout_ms": None,
    "create_response": True, "interrupt_response": True,
}  # fmt: skip
PCM = {"type": "audio/pcm", "rate": RATE}
PCMU, PCMA = {"type": "audio/pcmu"}, {"type": "audio/pcma"}
# A telephone gives every third of our samples, one byte each.
TELEPHONE_STEP = 3
SESSION_FIELDS = {
    "type", "model", "audio", "include", "instructions", "max_output_tokens", "output_modalities", "parallel_tool_calls",
    "prompt", "reasoning", "tool_choice", "tools", "tracing", "truncation",
}  # fmt: skip
# Of a message, what its parts may be.
PARTS = {
    "user": {"input_text", "input_audio", "input_image"},
    "assistant": {"output_text", "output_audio"},
    "system": {"input_text"},
}

Event = dict[str, Any]


# --- Sound --------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def tone(hertz: float, seconds: float) -> bytes:
    """Mono 16-bit PCM."""
    return _bytes(array.array("h", (int(9000 * math.sin(2 * math.pi * hertz * at / RATE)) for at in range(int(RATE * seconds)))))


def silence(seconds: float) -> bytes:
    return bytes(2 * int(RATE * seconds))


def spoken(text: str) -> bytes:
    """How the server speaks a text: a tone for each word, higher with its length."""
    return b"".join(map(spoken_word, text.split()))


def spoken_word(word: str) -> bytes:
    return tone(200 + 20 * (len(word) % 30), WORD_SECONDS)


def written_down(pcm: bytes) -> str:
    """What the server takes a sound for."""
    windows = [pcm[at : at + WINDOW_MS * BYTES_A_MS] for at in range(0, len(pcm), WINDOW_MS * BYTES_A_MS)]
    loud = [window for window in windows if loudness(window) > LOUD_RMS]
    if not loud:
        return ""
    samples = _samples(b"".join(loud))
    crossings = sum(1 for one, other in zip(samples, samples[1:]) if (one < 0) != (other < 0))
    seconds = len(samples) / RATE
    return f"A tone of {10 * round(crossings / seconds / 20)} hertz for {seconds:.1f} seconds."


def loudness(pcm: bytes) -> float:
    samples = _samples(pcm)
    return math.sqrt(sum(sample * sample for sample in samples) / max(len(samples), 1))


def inward(form: Event, sound: bytes) -> bytes:
    """Sound of that format as samples of 16 bits."""
    if form == PCM:
        return sound
    table = telephone(form["type"])
    return _bytes(array.array("h", (table[byte] for byte in sound for _ in range(TELEPHONE_STEP))))


def outward(form: Event, pcm: bytes) -> bytes:
    """The same, the other way; what lies between samples that are kept is not smoothed."""
    if form == PCM:
        return pcm
    return bytes(_nearest(form["type"], sample) for sample in _samples(pcm)[::TELEPHONE_STEP])


@functools.cache
def telephone(kind: str) -> list[int]:
    """What each byte of a telephone's sound stands for (ITU-T G.711)."""
    return [_of_ulaw(byte ^ 0xFF) if kind == "audio/pcmu" else _of_alaw(byte ^ 0x55) for byte in range(256)]


def _of_ulaw(bits: int) -> int:
    size = (((bits & 15) << 3) + 132 << (bits >> 4 & 7)) - 132
    return -size if bits & 128 else size


def _of_alaw(bits: int) -> int:
    step, size = bits >> 4 & 7, (bits & 15) << 4
    size = size + 8 if step == 0 else size + 264 << step - 1
    return size if bits & 128 else -size


@functools.cache
def _nearest(kind: str, sample: int) -> int:
    table = telephone(kind)
    order = _order(kind)
    place = bisect.bisect_left(order, sample, key=table.__getitem__)
    return min(order[max(place - 1, 0) : place + 1], key=lambda byte: abs(table[byte] - sample))


@functools.cache
def _order(kind: str) -> list[int]:
    return sorted(range(256), key=telephone(kind).__getitem__)


def _samples(pcm: bytes) -> array.array[int]:
    samples = array.array("h", pcm[: len(pcm) // 2 * 2])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _bytes(samples: array.array[int]) -> bytes:
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


class Ear:
    """The samples that nobody has made an item of yet, and whether somebody is speaking in them."""

    def __init__(self) -> None:
        self.held = bytearray()
        # All that came, and where in that the held ones begin, in bytes.
        self.came = self.begins = 0
        self.speaks = False
        self._windows = 0
        self._loud = self._quiet = 0

    def hears(self, pcm: bytes, vad: Event | None) -> list[tuple[str, int]]:
        """`("started" | "stopped", ms)`, as often as that is so. Of what lies before a start no more is kept than belongs to it."""
        self.held += pcm
        self.came += len(pcm)
        found: list[tuple[str, int]] = []
        if vad is None:
            self._windows = self.came // (WINDOW_MS * BYTES_A_MS)
            return found
        padding = vad.get("prefix_padding_ms", SERVER_VAD["prefix_padding_ms"])
        patience = vad.get("silence_duration_ms", SERVER_VAD["silence_duration_ms"])
        while (end := (self._windows + 1) * WINDOW_MS * BYTES_A_MS) <= self.came:
            at = max(end - WINDOW_MS * BYTES_A_MS - self.begins, 0)
            self._windows += 1
            is_loud = loudness(bytes(self.held[at : at + WINDOW_MS * BYTES_A_MS])) > LOUD_RMS
            self._loud, self._quiet = (self._loud + 1, 0) if is_loud else (0, self._quiet + 1)
            if not self.speaks and self._loud == LOUD_WINDOWS:
                self.speaks = True
                self._drop(end // BYTES_A_MS - LOUD_WINDOWS * WINDOW_MS - padding)
                found.append(("started", self.begins // BYTES_A_MS))
            elif self.speaks and self._quiet * WINDOW_MS >= patience:
                self.speaks = False
                found.append(("stopped", end // BYTES_A_MS))
                # The rest is looked at when an item was made of this.
                return found
        if not self.speaks:
            self._drop(self.came // BYTES_A_MS - LOUD_WINDOWS * WINDOW_MS - padding - WINDOW_MS)
        return found

    def _drop(self, before_ms: int) -> None:
        unwanted = max(before_ms * BYTES_A_MS - self.begins, 0)
        del self.held[:unwanted]
        self.begins += unwanted

    def take(self, to_ms: int | None = None) -> bytes:
        """What is held, up to then; it is held no more."""
        count = len(self.held) if to_ms is None else to_ms * BYTES_A_MS - self.begins
        taken = bytes(self.held[:count])
        del self.held[:count]
        self.begins += count
        self.speaks, self._loud, self._quiet = False, 0, 0
        return taken


# --- The session --------------------------------------------------------------------------------------


class Wrong(Exception):
    """What a client sent and should not have."""

    def __init__(self, code: str, message: str, param: str | None = None):
        super().__init__(message)
        self.code, self.param = code, param


@dataclass
class Turn:
    """The answer that is being given."""

    id: str
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""

    def end(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.stop.set()


class UpstreamSession:
    """`send` takes an event that goes out; `manners` is how the server is told to behave, and may change at any time."""

    def __init__(self, model: str, manners: Any, send: Callable[[Event], Awaitable[None]]):
        self.manners = manners
        self._send_event = send
        self.items: list[Event] = []
        self.sounds: dict[str, bytes] = {}
        self._ear = Ear()
        self._speaking = ""
        self._turn: Turn | None = None
        self._task: asyncio.Task[None] | None = None
        self._has_spoken = False
        self.session: Event = {
            "type": "realtime", "object": "realtime.session", "id": made("sess"), "model": model,
            "output_modalities": ["audio"], "instructions": "Be a server of tones.", "tools": [], "tool_choice": "auto",
            "max_output_tokens": "inf", "tracing": None, "truncation": "auto", "prompt": None, "include": None,
            "expires_at": int(time.time()) + 3600,
            "audio": {
                "input": {
                    "format": PCM, "transcription": None, "noise_reduction": None,
                    "turn_detection": dict(SERVER_VAD),
                },
                "output": {"format": PCM, "voice": "alloy", "speed": 1.0},
            },
        }  # fmt: skip

    def turns(self) -> list[Event]:
        """What it remembers, as text."""
        return [
            {"id": item["id"], "role": item.get("role", item["type"]), "text": text_of(item)} for item in self.items
        ]  # fmt: skip

    async def begin(self) -> None:
        await self._send("session.created", session=self.session)

    async def end(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._task

    async def take(self, message: str) -> None:
        """One message of the client's."""
        event_id = None
        try:
            try:
                event = json.loads(message)
            except ValueError as fault:
                raise Wrong("invalid_json", f"Could not parse your message as JSON: {fault}") from fault
            if not isinstance(event, dict):
                raise Wrong("invalid_event", "An event is an object.")
            event_id = event.get("event_id")
            handler = self.HANDLERS.get(event.get("type", ""))
            if handler is None:
                names = ", ".join(f"'{name}'" for name in self.HANDLERS)
                raise Wrong("invalid_value", f"Invalid value: '{event.get('type')}'. Supported values are: {names}.", "type")
            await handler(self, event)
        except Wrong as wrong:
            await self.fail(wrong.code, str(wrong), wrong.param, event_id)

    async def fail(
        self, code: str, message: str, param: str | None = None, event_id: str | None = None, kind: str = "invalid_request_error"
    ) -> None:
        error = {"type": kind, "code": code, "message": message, "param": param, "event_id": event_id}
        await self._send("error", error=error)

    async def _send(self, name: str, **fields: Any) -> None:
        await self._send_event({"type": name, "event_id": made("event")} | fields)

    # Its settings.

    async def _session_update(self, event: Event) -> None:
        wanted = event.get("session")
        if not isinstance(wanted, dict) or "type" not in wanted:
            raise Wrong("missing_required_parameter", "Missing required parameter: 'session.type'.", "session.type")
        for name in wanted:
            if name not in SESSION_FIELDS:
                raise Wrong("unknown_parameter", f"Unknown parameter: 'session.{name}'.", f"session.{name}")
        if wanted.get("model", self.session["model"]) != self.session["model"]:
            raise Wrong("invalid_value", "The model of a session cannot be changed.", "session.model")
        voice = wanted.get("audio", {}).get("output", {}).get("voice")
        if voice is not None and voice not in VOICES:
            raise Wrong("invalid_value", f"Invalid value: '{voice}'. Supported values are: {VOICES}.", "session.audio.output.voice")
        if voice not in (None, self.session["audio"]["output"]["voice"]) and self._has_spoken:
            raise Wrong("cannot_update_voice", "Cannot update a conversation's voice if assistant audio is present.")
        audio = {
            way: self.session["audio"][way] | wanted.get("audio", {}).get(way, {}) for way in ("input", "output")
        }  # fmt: skip
        for way, settings in audio.items():
            if settings["format"] == {"type": "audio/pcm"}:
                settings["format"] = PCM
            if settings["format"] not in (PCM, PCMU, PCMA):
                said = f"Invalid value: '{settings['format']}'."
                raise Wrong("invalid_value", said, f"session.audio.{way}.format")
        if audio["input"]["turn_detection"]:
            audio["input"]["turn_detection"] = SERVER_VAD | audio["input"]["turn_detection"]
        self.session = self.session | wanted | {"audio": audio}
        await self._send("session.updated", session=self.session)

    # What it hears.

    @property
    def _vad(self) -> Event | None:
        return self.session["audio"]["input"]["turn_detection"]

    async def _append(self, event: Event) -> None:
        if "audio" not in event:
            raise Wrong("missing_required_parameter", "Missing required parameter: 'audio'.", "audio")
        try:
            pcm = base64.b64decode(event["audio"], validate=True)
        except (binascii.Error, ValueError, TypeError) as fault:
            raise Wrong("invalid_value", "Invalid 'audio'. Expected base64-encoded audio bytes.", "audio") from fault
        pcm = inward(self.session["audio"]["input"]["format"], pcm)
        found = self._ear.hears(pcm, self._vad)
        while found:
            for what, ms in found:
                if what == "started":
                    self._speaking = made("item")
                    await self._send("input_audio_buffer.speech_started", audio_start_ms=ms, item_id=self._speaking)
                    if self._turn and self._vad and self._vad["interrupt_response"]:
                        self._turn.end("turn_detected")
                        await self._over()
                else:
                    await self._send("input_audio_buffer.speech_stopped", audio_end_ms=ms, item_id=self._speaking)
                    await self._commit_item(self._speaking, self._ear.take(ms))
                    if self._vad and self._vad["create_response"]:
                        await self._answer({})
            found = self._ear.hears(b"", self._vad)

    async def _commit(self, _: Event) -> None:
        held_ms = len(self._ear.held) / BYTES_A_MS
        if held_ms < COMMIT_LEAST_MS:
            raise Wrong(
                "input_audio_buffer_commit_empty",
                f"Error committing input audio buffer: buffer too small. Expected at least {COMMIT_LEAST_MS}ms of audio, "
                f"but buffer only has {held_ms:.2f}ms of audio.",
            )
        await self._commit_item((self._ear.speaks and self._speaking) or made("item"), self._ear.take())

    async def _clear(self, _: Event) -> None:
        self._ear.take()
        await self._send("input_audio_buffer.cleared")

    async def _commit_item(self, item_id: str, pcm: bytes) -> None:
        before = self.items[-1]["id"] if self.items else None
        await self._send("input_audio_buffer.committed", previous_item_id=before, item_id=item_id)
        part = {"type": "input_audio", "transcript": None}
        item = {"id": item_id, "type": "message", "object": "realtime.item", "status": "completed", "role": "user", "content": [part]}
        self.sounds[item_id] = pcm
        await self._add(item, None)
        # Without being told to, it hears without writing down.
        if self.session["audio"]["input"]["transcription"]:
            part["transcript"] = written_down(pcm)
            await self._send(
                "conversation.item.input_audio_transcription.completed",
                item_id=item_id, content_index=0, transcript=part["transcript"],
                usage={"type": "duration", "seconds": len(pcm) / BYTES_A_MS / 1000},
            )  # fmt: skip

    # What it remembers.

    async def _add(self, item: Event, previous: str | None) -> None:
        place = len(self.items) if previous is None else 0 if previous == "root" else 1 + self._place(previous, "create")
        self.items.insert(place, item)
        before = self.items[place - 1]["id"] if place else None
        await self._send("conversation.item.added", previous_item_id=before, item=item)
        await self._send("conversation.item.done", previous_item_id=before, item=item)

    def _place(self, item_id: Any, what: str) -> int:
        for place, item in enumerate(self.items):
            if item["id"] == item_id:
                return place
        said = f"Error with the item {item_id!r}: it does not exist."
        raise Wrong(f"item_{what}_invalid_item_id", said, "item_id")

    async def _item_create(self, event: Event) -> None:
        item = event.get("item")
        if not isinstance(item, dict) or "type" not in item:
            raise Wrong("missing_required_parameter", "Missing required parameter: 'item.type'.", "item.type")
        item = {"id": made("item"), "object": "realtime.item", "status": "completed"} | item
        if len(item["id"]) > ID_MOST:
            raise Wrong("string_above_max_length", f"Invalid 'item.id': expected at most {ID_MOST} characters.", "item.id")
        if any(other["id"] == item["id"] for other in self.items):
            raise Wrong("item_create_duplicate_item_id", f"An item {item['id']!r} already exists.", "item.id")
        if item["type"] == "message":
            allowed = PARTS.get(item.get("role", ""))
            if allowed is None:
                raise Wrong("invalid_value", f"Invalid value: '{item.get('role')}'.", "item.role")
            for number, part in enumerate(item.get("content", [])):
                if part.get("type") not in allowed:
                    said = f"Invalid value: '{part.get('type')}'. Supported values are: {sorted(allowed)}."
                    raise Wrong("invalid_value", said, f"item.content[{number}].type")
        await self._add(item, event.get("previous_item_id"))

    async def _item_delete(self, event: Event) -> None:
        item = self.items.pop(self._place(event.get("item_id"), "delete"))
        self.sounds.pop(item["id"], None)
        await self._send("conversation.item.deleted", item_id=item["id"])

    async def _item_retrieve(self, event: Event) -> None:
        item = json.loads(json.dumps(self.items[self._place(event.get("item_id"), "retrieve")]))
        for part in item.get("content", []):
            if part["type"].endswith("_audio"):
                part["audio"] = base64.b64encode(self.sounds.get(item["id"], b"")).decode()
        await self._send("conversation.item.retrieved", item=item)

    async def _item_truncate(self, event: Event) -> None:
        item = self.items[self._place(event.get("item_id"), "truncate")]
        sound, end_ms = self.sounds.get(item["id"], b""), event.get("audio_end_ms")
        if item.get("role") != "assistant" or not isinstance(end_ms, int):
            raise Wrong("invalid_value", "Only an answer's audio can be truncated.", "item_id")
        if len(sound) < end_ms * BYTES_A_MS:
            said = f"Audio content of {len(sound) // BYTES_A_MS}ms is already shorter than {end_ms}ms"
            raise Wrong("invalid_value", said, "audio_end_ms")
        self.sounds[item["id"]] = sound[: end_ms * BYTES_A_MS]
        # What was not heard is not known: theirs forgets the words with the sound.
        item["content"][0].pop("transcript", None)
        await self._send(
            "conversation.item.truncated", item_id=item["id"], content_index=event.get("content_index", 0), audio_end_ms=end_ms
        )

    # What it says.

    async def _response_create(self, event: Event) -> None:
        await self._answer(event.get("response") or {})

    async def _response_cancel(self, _: Event) -> None:
        if not self._turn:
            raise Wrong("response_cancel_not_active", "Cancellation failed: no active response found")
        self._turn.end("client_cancelled")

    async def _answer(self, wanted: Event) -> None:
        if self._turn and self._turn.stop.is_set():
            await self._over()
        if self._turn:
            raise Wrong(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {self._turn.id}. Wait until the response is "
                "finished before creating a new one.",
            )
        self._turn = Turn(made("resp"))
        self._task = asyncio.create_task(self._give(self._turn, wanted))

    async def _over(self) -> None:
        """Waits for the last events of an answer that was stopped."""
        if self._task:
            await self._task

    async def _give(self, turn: Turn, wanted: Event) -> None:
        modalities = wanted.get("output_modalities") or self.session["output_modalities"]
        response = {
            "object": "realtime.response", "id": turn.id, "status": "in_progress", "status_details": None, "output": [],
            "conversation_id": None if wanted.get("conversation") == "none" else "conv_" + self.session["id"][5:],
            "output_modalities": modalities, "max_output_tokens": "inf", "metadata": wanted.get("metadata"), "usage": None,
            "audio": {"output": {name: self.session["audio"]["output"][name] for name in ("format", "voice")}},
        }  # fmt: skip
        try:
            await self._send("response.created", response=response)
            item = await self._utter(turn, wanted, modalities == ["text"])
            response |= {"status": "cancelled" if turn.reason else "completed", "output": [item]}
            response["status_details"] = {"type": response["status"]} | ({"reason": turn.reason} if turn.reason else {})
            words = len(text_of(item).split())
            response["usage"] = {
                "total_tokens": 10 + words, "input_tokens": 10, "output_tokens": words,
                "input_token_details": {"text_tokens": 10, "audio_tokens": 0, "cached_tokens": 0},
                "output_token_details": {"text_tokens": words, "audio_tokens": 0},
            }  # fmt: skip
        finally:
            self._turn = None
        await self._send("response.done", response=response)
        await self._send("rate_limits.updated", rate_limits=[
            {"name": "tokens", "limit": 40_000, "remaining": 39_000, "reset_seconds": 1.5},
        ])  # fmt: skip

    async def _utter(self, turn: Turn, wanted: Event, in_writing: bool) -> Event:
        question = next((text_of(item) for item in reversed(self.items) if item.get("role") == "user"), "")
        text = self.manners.answer.replace("{question}", question).replace("{voice}", self.session["audio"]["output"]["voice"])
        item: Event = {"id": made("item"), "type": "message", "object": "realtime.item", "status": "in_progress",
                       "role": "assistant", "content": []}  # fmt: skip
        before = self.items[-1]["id"] if self.items else None
        is_kept = wanted.get("conversation") != "none"
        here = {"response_id": turn.id, "item_id": item["id"], "output_index": 0, "content_index": 0}
        there = {"response_id": turn.id, "output_index": 0}
        await self._send("response.output_item.added", **there, item=item)
        if is_kept:
            self.items.append(item)
            await self._send("conversation.item.added", previous_item_id=before, item=item)
        kind, words = ("text", "text") if in_writing else ("audio", "transcript")
        await self._send("response.content_part.added", **here, part={"type": kind, words: ""})
        said = await self._words(turn, here, text, in_writing)
        if not in_writing:
            await self._send("response.output_audio.done", **here)
        stream = "response.output_text.done" if in_writing else "response.output_audio_transcript.done"
        await self._send(stream, **here, **{words: said})
        await self._send("response.content_part.done", **here, part={"type": kind, words: said})
        item["status"] = "incomplete" if turn.reason else "completed"
        item["content"] = [{"type": f"output_{kind}", words: said}]
        if is_kept:
            await self._send("conversation.item.done", previous_item_id=before, item=item)
        await self._send("response.output_item.done", **there, item=item)
        return item

    async def _words(self, turn: Turn, here: Event, text: str, in_writing: bool) -> str:
        """Word by word; the words that were begun before somebody stopped it."""
        stream = "response.output_text.delta" if in_writing else "response.output_audio_transcript.delta"
        said = ""
        for word in text.split():
            delta = word if not said else f" {word}"
            await self._send(stream, **here, delta=delta)
            said += delta
            sound = b"" if in_writing else spoken_word(word)
            for at in range(0, len(sound), DELTA_BYTES):
                part = sound[at : at + DELTA_BYTES]
                self.sounds[here["item_id"]] = self.sounds.get(here["item_id"], b"") + part
                self._has_spoken = True
                delta = base64.b64encode(outward(self.session["audio"]["output"]["format"], part)).decode()
                await self._send("response.output_audio.delta", **here, delta=delta)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(turn.stop.wait(), self.manners.pace_ms / 1000)
                if turn.stop.is_set():
                    return said
            await asyncio.sleep(0)
            if turn.stop.is_set():
                return said
        return said

    HANDLERS = {
        "session.update": _session_update,
        "input_audio_buffer.append": _append,
        "input_audio_buffer.commit": _commit,
        "input_audio_buffer.clear": _clear,
        "conversation.item.create": _item_create,
        "conversation.item.retrieve": _item_retrieve,
        "conversation.item.truncate": _item_truncate,
        "conversation.item.delete": _item_delete,
        "response.create": _response_create,
        "response.cancel": _response_cancel,
    }


def made(kind: str) -> str:
    """An id as theirs look."""
    return f"{kind}_{secrets.token_hex(10)}"


def text_of(item: Event) -> str:
    return " ".join(str(part.get("text") or part.get("transcript") or "") for part in item.get("content", []))
