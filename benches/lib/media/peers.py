"""Who serves the files: Evensong with its cache and without, nginx, Express."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from ..relay import peers as relay
from ..search.peers import Node
from ..server import Server, binary
from .files import File

NAMES = ("evensong", "evensong, cold", "nginx", "express")
NODE = Path(__file__).resolve().parents[1] / "media_node"
GIB = 1024 * 1024 * 1024
# A server looks at its folder when it starts, beside answering.
LISTED_SECONDS = 30
IMMUTABLE = "public, max-age=31536000, immutable"
# As one tunes it for files: the kernel copies, and descriptors are kept.
_NGINX = """
daemon off; worker_processes auto; pid {folder}/pid; error_log stderr crit; worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    sendfile on; sendfile_max_chunk 512k; tcp_nopush on; tcp_nodelay on;
    open_file_cache max=1000 inactive=60s; open_file_cache_valid 60s; open_file_cache_min_uses 1;
    types {{ image/gif gif; }} default_type application/octet-stream;
    server {{
        listen 127.0.0.1:{port} backlog=4096; keepalive_requests 100000000; send_timeout 600s; etag on;
        location /media/ {{
            alias ROOT/; add_header Cache-Control "public, max-age=31536000, immutable"; add_header X-Content-Type-Options nosniff;
        }}
    }}
}}
"""


class Evensong(Server):
    """Evensong over the folder, with a budget that holds all who come."""

    def __init__(self, complaints: list[str], root: Path, *more: str, name: str = "evensong"):
        self.name = name
        super().__init__(
            complaints,
            *("--media-root", str(root), "--media-samples=false", "--budget-bytes", str(GIB)),
            # Stalled readers are to stay, which the time for slow ones would end.
            *("--limits-slow-reader-seconds", "600"),
            *more,
        )

    def paths(self, files: list[File]) -> list[str]:
        """Their hashed addresses, as the listing tells them once it has them all."""
        until = time.monotonic() + LISTED_SECONDS
        while True:
            told, after = {}, ""
            while after is not None:
                page = json.loads(fetch(self.address, f"/media/?limit=100&after={quote(after)}")[2])
                told |= {file["name"]: file["url"] for file in page["files"]}
                after = page["next"]
            missing = [file.name for file in files if file.name not in told]
            if not missing:
                return [told[file.name] for file in files]
            if time.monotonic() > until:
                raise OSError(f"not listed after {LISTED_SECONDS} s: {', '.join(missing)}")
            time.sleep(0.05)


class _Plain:
    def paths(self, files: list[File]) -> list[str]:
        return [f"/media/{file.name}" for file in files]


class Nginx(_Plain, relay.Nginx):
    """nginx over the folder."""

    def __init__(self, root: Path):
        self.configuration = _NGINX.replace("ROOT", str(root))
        super().__init__(0)


class Express(_Plain, Node):
    """Express's own static files over the folder."""

    name = "express"

    def __init__(self, root: Path):
        super().__init__(NODE, str(root))


Peer = Evensong | Nginx | Express


def start(name: str, complaints: list[str], root: Path) -> Peer:
    """One of `NAMES`, to be entered."""
    if name == "nginx":
        return Nginx(root)
    if name == "express":
        return Express(root)
    return Evensong(complaints, root, *(("--media-hot-bytes", "0") if name != "evensong" else ()), name=name)


def versions(names: list[str]) -> str:
    """What is measured, and on what."""
    said = []
    if any(name.startswith("evensong") for name in names):
        said.append(_said([str(binary()), "--version"]))
    if "nginx" in names:
        said.append(f"nginx {relay.Nginx(0).version}")
    if "express" in names:
        locked = json.loads((NODE / "package-lock.json").read_text())["packages"]
        versions = ", ".join(f"{name} {locked[f'node_modules/{name}']['version']}" for name in ("express", "serve-static"))
        said.append(f"{versions} on Node {_said(['node', '--version'])}")
    return f"{'; '.join(said)}; {_said(['wrk', '-v']).split(' [')[0]}; Linux {os.uname().release}, {os.cpu_count()} processors"


def _said(command: list[str]) -> str:
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    return (ran.stdout + ran.stderr).strip().splitlines()[0]


def fetch(address: tuple[str, int], path: str, **fields: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one GET."""
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in fields.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def check(peer: Peer, files: list[File]) -> list[tuple[str, str]]:
    """(path, tag) of each file, once each was had from this peer byte for byte, with the headers that are compared."""
    found = []
    for file, path in zip(files, peer.paths(files), strict=True):
        status, headers, body = fetch(peer.address, path)
        wanted = {"content-type": "image/gif", "cache-control": IMMUTABLE, "x-content-type-options": "nosniff"}
        wrong = {name: headers.get(name) for name, value in wanted.items() if headers.get(name) != value}
        if status != 200 or body != file.content or wrong or "etag" not in headers:
            raise OSError(f"{peer.name} answered {path} with {status}, {len(body)} bytes of {len(file.content)}, {wrong}")
        found.append((path, headers["etag"]))
    return found
