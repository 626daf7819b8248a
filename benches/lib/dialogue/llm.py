"""The language model of the tests, which says what its question asks for, as the benches hold it: a process of its own,
in another language than the server. Its times and Python's `monotonic` are one clock."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..server import Server

_SCRIPT = Path(__file__).resolve().parents[3] / "tests/stubs/llm.mjs"


class Llm:
    """A running one; it ends with its `with` block."""

    def __enter__(self) -> Llm:
        node = shutil.which("node")
        if not node:
            raise SystemExit("node is not there: Node.js 20 or newer runs the language model of the tests")
        self._process = subprocess.Popen([node, _SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the language model of the tests did not start")
        self.url = json.loads(line)["listen"]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(5)

    @property
    def pid(self) -> int:
        return self._process.pid

    def server(self, complaints: list[str], *more: str) -> Server:
        """Evensong with this as its language model."""
        ours = ("--answer-llm-base-url", f"{self.url}/v1", "--answer-llm-model", "stub")
        return Server(complaints, *ours, *more)

    def stats(self) -> dict[str, Any]:
        """Its counts, and each request that it had."""
        return self._ask("GET", "/stats")

    def by_topic(self) -> dict[int, dict[str, Any]]:
        """Its requests by the number of their turn; of one that was asked twice the later."""
        return {turn["topic"]: turn for turn in self.stats()["turns"]}

    def reset(self) -> None:
        self._ask("POST", "/reset")

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
        try:
            connection.request(method, path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()
