"""Who holds the sockets: Evensong, the ws package on Node, tokio with tungstenite and nothing behind it."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
from pathlib import Path

from ..search.peers import Node as Program
from ..search.peers import address_of
from ..server import START_SECONDS, STOP_SECONDS, Server, binary

NAMES = ("evensong", "node", "bare")
NODE = Path(__file__).resolve().parents[1] / "realtime_node"
MIB = 1024 * 1024
# More than any part opens at once.
CONNECTIONS = 8_192
# So that what is left waits for nobody when a part is over. Whoever comes back here does so at once.
GRACE_SECONDS = 2


class Evensong(Server):
    """Evensong with a budget that holds all who come."""

    name = "evensong"

    def __init__(self, complaints: list[str], *more: str, budget: int = 2048 * MIB):
        super().__init__(
            complaints,
            *("--budget-bytes", str(budget), "--limits-connections", str(CONNECTIONS)),
            *("--realtime-grace-seconds", str(GRACE_SECONDS)),
            *more,
        )


class Node(Program):
    """The ws package's server."""

    name = "node"

    def __init__(self) -> None:
        super().__init__(NODE)

    @property
    def port(self) -> int:
        return self.address[1]


class Bare:
    """The example `ws_bare`, beside the server's binary."""

    name = "bare"

    def __enter__(self) -> Bare:
        program = bare_binary()
        self.process = subprocess.Popen([program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if ready.select(START_SECONDS) else b""
        if not line:
            self.process.kill()
            raise OSError(f"{program} did not start")
        self.address = address_of(json.loads(line)["url"])
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(STOP_SECONDS)
        self.process.stdout.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return self.address[1]


Peer = Evensong | Node | Bare


def bare_binary() -> Path:
    path = binary().parent / "examples/ws_bare"
    if not os.access(path, os.X_OK):
        raise OSError(f"{path} is not there: `cargo build --release --example ws_bare` makes it")
    return path


def start(name: str, complaints: list[str]) -> Peer:
    """One of `NAMES`, to be entered."""
    return {"node": Node, "bare": Bare}[name]() if name != "evensong" else Evensong(complaints)


def versions(names: list[str]) -> str:
    """What is measured, and on what."""
    said = [_said([str(binary()), "--version"])]
    if "node" in names:
        locked = json.loads((NODE / "package-lock.json").read_text())["packages"]
        said.append(f"ws {locked['node_modules/ws']['version']} on Node {_said(['node', '--version'])}")
    if "bare" in names:
        said.append("tokio and tungstenite of Cargo.lock")
    return f"{'; '.join(said)}; Linux {os.uname().release}, {os.cpu_count()} processors"


def _said(command: list[str]) -> str:
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    return (ran.stdout + ran.stderr).strip().splitlines()[0]
