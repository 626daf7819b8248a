"""Who is asked: Evensong, a real engine, a small Node service, the sample source; each ends with its `with` block."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from ..server import STOP_SECONDS, Server, binary
from . import corpus

ROOT = Path(__file__).resolve().parents[3]
NODE_SERVICE = ROOT / "benches/lib/search_node"
SOURCE = ROOT / "samples/graphql-source"
VISIBLE_SECONDS = 30.0


class Unavailable(OSError):
    """What cannot be had on this machine."""


def address_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port


def ask(address: tuple[str, int], method: str, path: str, body: bytes | None = None, kind: str = "json") -> Any:
    """One request on a connection of its own; its JSON. Anything but 2xx is an error."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": f"application/{kind}"} if body else {})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status // 100 != 2:
        raise OSError(f"{method} {path} was answered {answer.status}: {text[:300]!r}")
    return json.loads(text) if text else None


class Evensong(Server):
    """Evensong with the given index; documents may be written without a key."""

    def __init__(self, complaints: list[str], data: Path, *more: str):
        super().__init__(complaints, "--data", str(data), "--insecure-admin", *more)

    def search(self, **given: object) -> dict[str, Any]:
        return ask(self.address, "GET", f"/api/search?{urlencode(given)}")

    def load(self, count: int) -> float:
        """All documents by the bulk route, until the last is found; the seconds it took."""
        while not ask(self.address, "GET", "/readyz")["search"]["ready"]:
            time.sleep(0.05)
        began = time.monotonic()
        for batch in corpus.batches(count):
            body = corpus.ndjson(batch)
            answer = ask(self.address, "POST", "/api/search/documents", body, "x-ndjson")
            if answer["rejected"] or answer["indexed"] != len(batch):
                raise OSError(f"of {len(batch)} documents {answer['indexed']} were indexed: {answer['items'][:2]}")
        path = f"/api/search/document-{count - 1}"
        while True:
            try:
                ask(self.address, "GET", path)
                return time.monotonic() - began
            except OSError:
                if time.monotonic() - began > VISIBLE_SECONDS + count / 100:
                    raise
                time.sleep(0.05)

    @staticmethod
    def version() -> str:
        said = subprocess.run([binary(), "--version"], capture_output=True, text=True, timeout=10)
        return said.stdout.strip()


class Engine:
    """A real node of scripts/engine for the bench alone, and so empty; it ends with the part."""

    def __init__(self, name: str):
        self.name = name

    def __enter__(self) -> Engine:
        self._script("stop")
        done = self._script("start")
        if done.returncode:
            raise Unavailable(f"no {self.name}: scripts/engine start ended with {done.returncode}")
        self.url = done.stdout.strip()
        self.address = address_of(self.url)
        command = [str(ROOT / "scripts/engine"), "version", self.url]
        self.version = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._script("stop").check_returncode()

    def _script(self, verb: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "scripts/engine"), verb, self.name, "--instance", "bench"]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)

    def refresh(self) -> None:
        ask(self.address, "POST", "/_refresh")

    def load(self, index: str, mapping: dict, count: int) -> None:
        """All documents without Evensong, where it is not among those measured."""
        settings = {"number_of_shards": 1, "number_of_replicas": 0}
        ask(self.address, "PUT", f"/{index}", json.dumps({"settings": settings, "mappings": mapping}).encode())
        for batch in corpus.batches(count):
            lines = [line for each in batch for line in ({"index": {"_id": each["id"]}}, each)]
            answer = ask(self.address, "POST", f"/{index}/_bulk", corpus.ndjson(lines), "x-ndjson")
            if answer["errors"]:
                raise OSError(f"documents were refused: {json.dumps(answer)[:300]}")
        self.refresh()


class Node:
    """A program of Node's that prints {"url":…} when it listens; its packages are beside the other downloads."""

    def __init__(self, folder: Path, *arguments: str, **environment: str):
        self.folder, self.arguments, self.environment = folder, arguments, environment

    def __enter__(self) -> Node:
        install(self.folder)
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            ["node", "server.mjs", *self.arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ | {"NODE_ENV": "production"} | self.environment,
        )
        # The end of the program ends the line, too.
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            self.process.wait()
            raise OSError(f"{self.folder.name} did not start: {self.log.read().decode(errors='replace')}")
        self.url = json.loads(line)["url"]
        self.address = address_of(self.url)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()

    @property
    def pid(self) -> int:
        return self.process.pid


def install(folder: Path) -> None:
    """As scripts/test does: by the lock file, in the cache, with a link from the folder."""
    command = ["bash", "-c", 'source "$1" && need_node && node_packages "$2"', "bash", str(ROOT / "scripts/lib.sh")]
    # Its talk is no part of the table.
    if subprocess.run([*command, str(folder)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode:
        raise Unavailable(f"no Node.js, or not the packages of {folder.name}, and they could not be installed")


def node_version() -> str:
    said = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    locked = json.loads((NODE_SERVICE / "package-lock.json").read_text())["packages"]
    return f"Node {said} with @elastic/elasticsearch {locked['node_modules/@elastic/elasticsearch']['version']}"


@contextmanager
def folder() -> Iterator[Path]:
    """For an index that is gone with its part."""
    with tempfile.TemporaryDirectory(prefix="evensong-bench-") as name:
        yield Path(name)
