"""Starts the real server on free ports, asks its admin listener, and sees that it leaves well."""

from __future__ import annotations

import http.client
import json
import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import machine

START_SECONDS = 20.0
# The server promises to be gone within 5 s of SIGTERM; the rest is for a busy machine.
STOP_SECONDS = 8.0


def binary() -> Path:
    """The release binary, or the end of the run with what would build it."""
    if named := os.environ.get("EVENSONG_BIN"):
        if os.access(named, os.X_OK):
            return Path(named).resolve()
        raise SystemExit(f"EVENSONG_BIN: {named} is no program")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evensong/target"
    root = Path(__file__).resolve().parents[2]
    for target in (os.environ.get("CARGO_TARGET_DIR"), cache, root / "target"):
        if target and os.access(path := root / target / "release/evensong", os.X_OK):
            return path
    raise SystemExit("no release binary: `cargo build --release` makes it, or name one in EVENSONG_BIN")


class Server:
    """A running server; it ends with its `with` block."""

    def __init__(self, complaints: list[str], *arguments: str):
        self.complaints = complaints
        self.arguments = arguments

    def __enter__(self) -> Server:
        self.folder = tempfile.TemporaryDirectory(prefix="evensong-bench-")
        self.log = Path(self.folder.name) / "stderr"
        # Settings of this machine's own server are not what is measured.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("EVENSONG_")}
        environment["EVENSONG_DATA"] = str(Path(self.folder.name) / "data")
        fixed = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--announce"]
        self.process = subprocess.Popen(
            [binary(), *fixed, *self.arguments],
            stdout=subprocess.PIPE,
            stderr=self.log.open("wb"),
            cwd=self.folder.name,
            env=environment,
        )
        try:
            announced = self._announced()
        except BaseException:
            self.process.kill()
            raise
        public, admin = urlsplit(announced["listen"][0]), urlsplit(announced["admin"])
        self.address, self.port = (public.hostname, public.port), public.port
        self._admin = http.client.HTTPConnection(admin.hostname, admin.port, timeout=10)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._admin.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self.complaints.append(f"did not leave within {STOP_SECONDS} s of SIGTERM")
        else:
            if code != 0:
                self.complaints.append(f"ended with {code}")
        said = self.log.read_text(errors="replace").splitlines()
        odd = [line for line in said if not re.search(r'"level":"(INFO|DEBUG|TRACE)"', line)]
        self.complaints += odd[:20] + ([f"… and {len(odd) - 20} lines more"] if odd[20:] else [])
        self.folder.cleanup()

    @property
    def pid(self) -> int:
        return self.process.pid

    def get(self, path: str) -> bytes:
        """An answer of the admin listener."""
        return self._ask("GET", path)

    def post(self, path: str) -> bytes:
        """Has the admin listener do something."""
        return self._ask("POST", path)

    def _ask(self, method: str, path: str) -> bytes:
        """One connection is kept, so that looking opens nothing; a kept connection that was closed
        meanwhile is opened again."""
        for last in (False, True):
            try:
                self._admin.request(method, path)
                answer = self._admin.getresponse()
                body = answer.read()
                if method == "POST" and answer.status >= 300:
                    raise SystemExit(f"{method} {path} was answered {answer.status}: {body[:200]!r}")
                return body
            except (http.client.HTTPException, OSError):
                self._admin.close()
                if last:
                    raise
        raise AssertionError("unreachable")

    def ledger(self) -> dict[str, Any]:
        return json.loads(self.get("/debug/ledger"))

    def metrics(self) -> dict[str, float]:
        """Every sample by its name with labels."""
        lines = self.get("/metrics").decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def idle_after(self, began: float, patience: float = 10.0) -> float:
        """Seconds from `began` until nothing lives or is reserved for a client; infinite when that
        was not so within `patience`."""
        while True:
            ledger = self.ledger()
            took = time.monotonic() - began
            if ledger["idle"] and ledger["budget"]["reserved"] == 0:
                return took
            if took > patience:
                alive = {k["kind"]: k["live"] for k in ledger["kinds"] if not k["standing"]}
                self.complaints.append(f"not idle after {took:.1f} s: {alive}, {ledger['budget']}")
                return float("inf")
            time.sleep(0.005)

    def memory(self) -> machine.Memory:
        return machine.memory(self.pid)

    def cpu_seconds(self) -> float:
        return machine.cpu_seconds(self.pid)

    def socket_bytes(self) -> int:
        return machine.socket_bytes(self.port)

    def _announced(self) -> dict[str, Any]:
        """The line on standard output that says which ports it took."""
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if ready.select(START_SECONDS) else b""
        if not line:
            raise SystemExit("the server did not start:\n" + self.log.read_text(errors="replace"))
        return json.loads(line)
