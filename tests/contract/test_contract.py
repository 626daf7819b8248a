"""The server does what its document says: schemathesis asks it for all that the document allows, and much that
it does not, and holds each answer against it.

EVENSONG_BIN names the binary. EVENSONG_CONTRACT_SEED repeats a run; EVENSONG_CONTRACT_EXAMPLES makes it longer.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SEED = os.environ.get("EVENSONG_CONTRACT_SEED", "1")
# Cases an operation, in each of two phases; 100 take half a minute on two cores.
EXAMPLES = int(os.environ.get("EVENSONG_CONTRACT_EXAMPLES", "100"))
# Far longer than it takes: a server that hangs ends the test, not the patience of who waits.
WHOLE_SECONDS, ANSWER_SECONDS = 300, 15
START_SECONDS, STOP_SECONDS = 10.0, 6.0
ALL_SCOPES = ["speech", "dialogue", "search", "media"]
# Schemathesis asks for more in a minute than any client may.
UNLIMITED = [
    "--limits-address-requests-per-minute=0",
    "--limits-address-starts-per-minute=0",
    "--limits-address-characters-per-minute=0",
    "--limits-principal-requests-per-minute=0",
    "--limits-principal-starts-per-minute=0",
    "--limits-principal-characters-per-minute=0",
]


@pytest.fixture(scope="module")
def binary() -> str:
    named = os.environ.get("EVENSONG_BIN")
    if not named:
        pytest.fail("EVENSONG_BIN must name the server's binary; scripts/test sets it")
    return named


def test_without_keys_it_does_what_it_says(binary: str, tmp_path: Path) -> None:
    with server(binary, tmp_path, []) as url:
        held_to_its_word(url, tmp_path, EXAMPLES, [])


def test_with_keys_it_does_what_it_says(binary: str, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    scopes = [part for scope in ALL_SCOPES for part in ("--scope", scope)]
    made = run([binary, "keys", "add", "contract", *scopes, "--keys-file", str(file)], tmp_path)
    key = made.stdout.split()[-1]
    with server(binary, tmp_path, ["--keys-file", str(file), *UNLIMITED]) as url:
        held_to_its_word(url, tmp_path, EXAMPLES // 4, ["-H", f"Authorization: Bearer {key}"])


def held_to_its_word(url: str, folder: Path, examples: int, flags: list[str]) -> None:
    document = folder / "openapi.json"
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=ANSWER_SECONDS) as answer:
        document.write_bytes(answer.read())
    # From a file, since schemathesis leaves out the address that it has read a document from.
    count = sum(len(item) for item in json.loads(document.read_bytes())["paths"].values())
    print(f"\nschemathesis: {count} operations, {examples} examples each, seed {SEED}", flush=True)
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(HERE / "schemathesis.toml"),
        "run", str(document), "--url", url, "--seed", SEED, "--max-examples", str(examples),
        "--request-timeout", str(ANSWER_SECONDS), "--continue-on-failure", "--warnings", "off", *flags,
    ]  # fmt: skip
    done = run(command, folder, SCHEMATHESIS_HOOKS="hooks", PYTHONPATH=str(HERE),
               EVENSONG_CONTRACT_KEYS="yes" if flags else "no")  # fmt: skip
    assert done.returncode == 0, f"\n{done.stdout}\n{done.stderr}"
    assert f"Tested: {count}" in done.stdout, done.stdout
    print("\n".join(line for line in done.stdout.splitlines() if "generated" in line), flush=True)


def run(command: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment() | more, text=True, capture_output=True, timeout=WHOLE_SECONDS
    )


def environment() -> dict[str, str]:
    """Settings of whoever runs the tests must not reach the server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("EVENSONG_")}


@contextmanager
def server(binary: str, folder: Path, flags: list[str]) -> Iterator[str]:
    log = folder / "server.log"
    command = [binary, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--announce",
               "--speech-engine", "tone", "--memory-interval-seconds", "1", *flags]  # fmt: skip
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environment() | {"EVENSONG_DATA": str(folder / "data")}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )
    try:
        announced = process.stdout.readline()
        assert announced, f"the server did not start:\n{log.read_text()}"
        url = json.loads(announced)["listen"][0]
        ready(url, log)
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=STOP_SECONDS) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def ready(url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return urllib.request.urlopen(f"{url}/readyz", timeout=1).close()
        except OSError as fault:
            assert time.monotonic() < deadline, f"not ready: {fault}\n{log.read_text()}"
            time.sleep(0.05)
