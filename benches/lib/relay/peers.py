"""What is put between reader and upstream: nothing, nginx, HAProxy, Evensong; each started on a free port."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .. import machine
from ..server import START_SECONDS, STOP_SECONDS, Server, binary

NAMES = ("evensong", "nginx", "haproxy")
GIB = 1024 * 1024 * 1024
_SCRIPTS = Path(__file__).resolve().parents[3] / "scripts/lib.sh"
# Where Debian keeps servers, which not everybody has on their path.
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"

_NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream engine {{ server 127.0.0.1:{upstream}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096; keepalive_requests 1000000; send_timeout 600s;
        location / {{
            proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_read_timeout 600s;
            proxy_buffering off; proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;
        }}
    }}
}}
"""
_HAPROXY = """
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    option abortonclose
    timeout connect 5s
    timeout client 600s
    timeout server 600s
listen relay
    bind 127.0.0.1:{port} backlog 4096
    server engine 127.0.0.1:{upstream}
"""


class Direct:
    """Nothing in between."""

    name = "direct"

    def __init__(self, upstream: tuple[str, int]):
        self.address = upstream


class Proxy:
    """A known proxy, which ends with its `with` block. The configuration and all that it writes are in a folder of
    its own, and where we are root it runs as nobody."""

    name: str
    configuration: str

    def __init__(self, upstream: int):
        self.program = need(self.name)
        said = subprocess.run([self.program, "-v"], capture_output=True, text=True, timeout=10)
        self.version = re.search(r"\d+\.\d\S*", said.stdout + said.stderr).group()
        self.upstream = upstream

    def command(self, file: Path) -> list[str]:
        raise NotImplementedError

    def __enter__(self) -> Proxy:
        self.folder = tempfile.TemporaryDirectory(prefix="evensong-bench-")
        folder, port = Path(self.folder.name), free_port()
        self.address, self.port = ("127.0.0.1", port), port
        file, run_as = folder / "conf", {}
        file.write_text(self.configuration.format(folder=folder, port=port, upstream=self.upstream), encoding="utf-8")
        if os.geteuid() == 0:
            run_as = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
            shutil.chown(folder, "nobody")
        self.log = (folder / "log").open("w+b")
        self.process = subprocess.Popen(self.command(file), stdout=self.log, stderr=self.log, cwd=folder, **run_as)
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.folder.cleanup()

    @property
    def pid(self) -> int:
        return self.process.pid

    def _wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < until:
            try:
                return socket.create_connection(self.address, 1).close()
            except OSError:
                time.sleep(0.02)
        self.log.seek(0)
        said = self.log.read().decode(errors="replace")
        self.__exit__()
        raise SystemExit(f"{self.name} did not start:\n{said}")


class Nginx(Proxy):
    name, configuration = "nginx", _NGINX

    def command(self, file: Path) -> list[str]:
        return [self.program, "-e", "stderr", "-p", str(file.parent), "-c", str(file)]


class Haproxy(Proxy):
    name, configuration = "haproxy", _HAPROXY

    def command(self, file: Path) -> list[str]:
        return [self.program, "-db", "-f", str(file)]


class Evensong(Server):
    """Evensong with the stub as its engine, and a budget that holds all who come."""

    name = "evensong"

    def __init__(self, complaints: list[str], upstream: int, *more: str):
        said = subprocess.run([binary(), "--version"], capture_output=True, text=True, timeout=10)
        self.version = said.stdout.split()[-1]
        super().__init__(
            complaints,
            *("--speech-engine", "openai", "--speech-openai-base-url", f"http://127.0.0.1:{upstream}/v1"),
            # Told, so that the stub is asked for nothing but speech.
            *("--speech-openai-voices", "alloy"),
            # Stalled readers are to stay, which the time for slow ones would end.
            *("--budget-bytes", str(4 * GIB), "--limits-slow-reader-seconds", "600"),
            *more,
        )


Peer = Proxy | Evensong


def start(name: str, complaints: list[str], upstream: int) -> Peer:
    """One of `NAMES`, to be entered."""
    if name == "evensong":
        return Evensong(complaints, upstream)
    return {"nginx": Nginx, "haproxy": Haproxy}[name](upstream)


def versions(names: list[str]) -> str:
    """What is measured, and on what."""
    each = ", ".join(f"{name} {start(name, [], 0).version}" for name in names)
    return f"{each}; Linux {os.uname().release}, {os.cpu_count()} processors"


def cpu_seconds(peer: Peer) -> float:
    """CPU time so far of all its threads and processes."""
    return machine.cpu_seconds(peer.pid)


def need(program: str) -> str:
    """The program's path; installed as the scripts install what they need, if it is not there."""
    if not shutil.which(program, path=_PATH):
        command = ["bash", "-c", f'source "$1" && need_{program}', "bash", str(_SCRIPTS)]
        subprocess.run(command, stdin=subprocess.DEVNULL)
    found = shutil.which(program, path=_PATH)
    if not found:
        raise SystemExit(f"{program} is not there, and could not be installed")
    return found


def free_port() -> int:
    """For those who cannot take port 0 and say which it became."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
