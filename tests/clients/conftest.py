"""Starts the real server for clients that know nothing of its source.

EVENSONG_BIN names the binary. The server takes free ports, tells them on stdout, and must leave well
when the tests are over. A test that cannot run here says why, also in the file that EVENSONG_SKIPS names.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from openai import OpenAI

SENTENCE = (
    "The quick brown fox jumps over the lazy dog, while five boxing wizards look on "
    "and wonder what it means."
)
# Half a minute in a dozen pieces and more, long and short: there are joins to be heard.
PARAGRAPH = " ".join(
    f"{count}. {sentence}"
    for count, sentence in enumerate(
        [
            SENTENCE,
            "It means nothing.",
            "Or so they say, at least; but then, who are they, and why would they know?",
            "Ask the dog!",
            "Somewhere behind the hills a bell rings for evensong, and all of them go home.",
            "The dog sleeps on.",
        ],
        start=1,
    )
)
# The longest input there is: more than four minutes, 12 MB, far more than any buffer on the way holds.
LONGEST = ((SENTENCE + " ") * 40)[:4095] + "."

START_SECONDS = 10.0
# The server promises to be gone within 5 s of SIGTERM; one more for a busy machine.
STOP_SECONDS = 6.0


@dataclass(frozen=True)
class Server:
    """Where the server under test listens."""

    url: str
    admin: str

    def ledger(self) -> dict[str, Any]:
        status, body = get(f"{self.admin}/debug/ledger")
        assert status == 200, f"/debug/ledger: {status} {body[:200]}"
        return json.loads(body)

    def until(self, is_so: Callable[[dict[str, Any]], bool], within: float = 5.0) -> None:
        """Waits until that can be said of the ledger."""
        deadline = time.monotonic() + within
        while not is_so(ledger := self.ledger()):
            alive = [kind for kind in ledger["kinds"] if kind["live"] and not kind["standing"]]
            assert time.monotonic() < deadline, f"not so after {within} s: {alive}"
            time.sleep(0.01)

    def idle_within(self, seconds: float) -> float:
        """Waits until nothing lives for a client any more; returns how long that took, in seconds."""
        began = time.monotonic()
        while True:
            ledger, took = self.ledger(), time.monotonic() - began
            if ledger["idle"]:
                return took
            alive = [kind for kind in ledger["kinds"] if kind["live"] and not kind["standing"]]
            assert took < seconds, f"still alive after {seconds} s: {alive}, {ledger['budget']}"
            time.sleep(0.01)


def get(url: str) -> tuple[int, str]:
    """Status and body, whatever the status; the connection is closed with it."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def skip(reason: str) -> NoReturn:
    if skips := os.environ.get("EVENSONG_SKIPS"):
        with open(skips, "a", encoding="utf-8") as file:
            file.write(f"real clients: {reason}\n")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for each file: espeak's hisses are drawn by lot, and how long they last depends on all that was said before. Two
    takes of a text are the more alike the less that was.
    """
    if not os.environ.get("EVENSONG_BIN"):
        pytest.fail("EVENSONG_BIN must name the server's binary; scripts/test sets it")
    if not ctypes.util.find_library("espeak-ng"):
        skip("libespeak-ng is not installed (Debian: libespeak-ng1 espeak-ng-data)")
    with evensong(tmp_path_factory.mktemp("servers") / "server") as server:
        yield server


def start(
    binary: str, folder: Path, log: Path, settings: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    # Settings of whoever runs the tests, from a file or the environment, must not reach the server.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EVENSONG_")}
    # Nor may it write where theirs does.
    environment |= {"EVENSONG_DATA": str(folder / "data")} | (settings or {})
    command = [binary, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--announce"]
    with log.open("wb") as errors:
        return subprocess.Popen(
            command, cwd=folder, env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip


def ready(process: subprocess.Popen[str], log: Path) -> Server:
    """Waits for the announced addresses, then until the server says that it can speak."""
    deadline = time.monotonic() + START_SECONDS
    lines: queue.Queue[str] = queue.Queue(maxsize=1)
    # A thread, since a read of a pipe has no deadline of its own.
    threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
    try:
        announced = json.loads(lines.get(timeout=START_SECONDS))
    except (queue.Empty, json.JSONDecodeError) as fault:
        pytest.fail(f"no line of JSON on stdout ({fault!r}); the server said:\n{log.read_text()}")
    server = Server(url=announced["listen"][0], admin=announced["admin"])
    while True:
        status, body = get(f"{server.url}/readyz")
        if status == 200:
            return server
        if time.monotonic() > deadline:
            pytest.fail(f"not ready after {START_SECONDS} s: {body}; it said:\n{log.read_text()}")
        time.sleep(0.05)


def stop(process: subprocess.Popen[str], log: Path) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.fail(f"still there {STOP_SECONDS} s after SIGTERM; it said:\n{log.read_text()}")
    assert status == 0, f"exit status {status}; it said:\n{log.read_text()}"


@contextlib.contextmanager
def evensong(folder: Path, **settings: str) -> Iterator[Server]:
    """A server of its own, with settings as its environment names them; it must leave well."""
    folder.mkdir()
    log = folder / "stderr.log"
    named = {f"EVENSONG_{name.upper()}": value for name, value in settings.items()}
    process = start(os.environ["EVENSONG_BIN"], folder, log, named)
    try:
        server = ready(process, log)
        yield server
        # Whatever the clients did, and however they left.
        server.idle_within(seconds=1.0)
        stop(process, log)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    """A client of its own for each test: an idle connection of another would be seen in the ledger."""
    with OpenAI(
        base_url=f"{server.url}/v1", api_key="none", timeout=30, max_retries=0
    ) as client:
        yield client


@pytest.fixture
def ffmpeg() -> None:
    """For tests that decode."""
    if not shutil.which("ffmpeg"):
        skip("ffmpeg is not installed")
