"""What Evensong sends to an engine for one search, taken down on its way: so that whoever is compared with it sends the
very same, whatever that is by now."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from . import asker, corpus, peers

# Words that no document has; they stand for those of a query.
WORDS = ("qqone", "qqtwo")
# Where an engine opens a snapshot, and how long ours lasts: longer than any bench.
OPENS, SNAPSHOT_KEPT = "/_pit", "3h"
# Where Evensong is not measured: a query such as it might send.
INDEX = "documents"
MAPPING = {
    "properties": {
        "id": {"type": "keyword"},
        "type": {"type": "keyword"},
        "tags": {"type": "keyword"},
        "creator": {"type": "keyword"},
        "title": {"type": "text"},
        "text": {"type": "text"},
        "created_at": {"type": "date"},
        "has_audio": {"type": "boolean"},
    }
}
_QUERY = {
    "size": 10,
    "query": {"multi_match": {"query": " ".join(WORDS), "fields": ["title^3", "text"]}},
    "track_total_hits": 10_000,
    "_source": ["type", "title", "url", "media", "created_at", "tags", "creator"],
    "highlight": {"encoder": "html", "fields": {"text": {"number_of_fragments": 1, "no_match_size": 160}}},
}


@dataclass(frozen=True)
class Request:
    """One search request with `WORDS` in it."""

    path: str
    body: str
    # How many requests one search took in all.
    of: int = 1
    # In which snapshot it searches, and what opened that.
    snapshot: str | None = None
    opened_by: str | None = None

    def message(self, words: tuple[str, str]) -> bytes:
        body = self.body
        for stand_in, word in zip(WORDS, words):
            body = body.replace(stand_in, word)
        return asker.post(self.path, body)

    def kept(self, engine: peers.Engine) -> Request:
        """The same in a snapshot that lasts as long as the bench. Evensong's own is gone a minute later, and a search in
        one that is gone finds nothing, very quickly, with status 200."""
        if not self.snapshot:
            return self
        opened = peers.ask(engine.address, "POST", f"{self.opened_by}?keep_alive={SNAPSHOT_KEPT}")
        body = self.body.replace(json.dumps(self.snapshot), json.dumps(opened["id"]))
        return replace(self, body=body, snapshot=opened["id"])

    def write(self, file: Path) -> None:
        """As the Node service reads it."""
        parts = urlsplit(self.path)
        index = parts.path.strip("/").removesuffix("/_search").removesuffix("_search")
        file.write_text(json.dumps({"index": index or None, "query": dict(parse_qsl(parts.query)), "body": self.body}))


def usual() -> Request:
    return Request(f"/{INDEX}/_search", json.dumps(_QUERY))


def taken_down(evensong: peers.Evensong, recorder: Recorder) -> Request:
    """The second of two searches, so that what is done once is not in it, but for the snapshot that both share."""
    evensong.search(q=" ".join(WORDS), limit=10)
    before = list(recorder.requests)
    recorder.requests.clear()
    evensong.search(q=" ".join(WORDS), limit=10)
    seen = list(recorder.requests)
    for path, body in seen:
        if urlsplit(path).path.endswith("_search") and all(word in body for word in WORDS):
            snapshot = json.loads(body).get("pit", {}).get("id")
            opening = (urlsplit(path).path for path, _ in seen + before)
            opened_by = next((path for path in opening if path.endswith(OPENS)), None)
            return Request(path, body, len(seen), snapshot, opened_by)
    raise OSError(f"no search was seen on its way, only {[path for path, _ in seen]}")


class Recorder:
    """Passes bytes on to an engine, and remembers the requests. One connection at a time is enough for one who asks
    one thing after the other, but each has its own threads."""

    def __init__(self, engine: tuple[str, int]):
        self.engine = engine
        self.requests: list[tuple[str, str]] = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"

    def __enter__(self) -> Recorder:
        self.accepting = threading.Thread(target=self._accept, daemon=True)
        self.accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes the thread that waits in accept, which closing alone does not.
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.accepting.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            engine = socket.create_connection(self.engine)
            threading.Thread(target=self._up, args=(client, engine), daemon=True).start()
            threading.Thread(target=_copy, args=(engine, client), daemon=True).start()

    def _up(self, client: socket.socket, engine: socket.socket) -> None:
        """Whole requests, by their length; one without a length has no body."""
        raw = b""
        try:
            while piece := client.recv(asker.READ_BYTES):
                engine.sendall(piece)
                raw += piece
                while (split := raw.find(b"\r\n\r\n")) >= 0:
                    head = raw[:split].decode("latin-1")
                    lengths = [line[15:] for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                    end = split + 4 + int(lengths[0] if lengths else 0)
                    if len(raw) < end:
                        break
                    self.requests.append((head.split(" ")[1], raw[split + 4 : end].decode(errors="replace")))
                    raw = raw[end:]
        except OSError:
            pass
        finally:
            _close(client, engine)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(asker.READ_BYTES):
            target.sendall(piece)
    except OSError:
        pass
    finally:
        _close(source, target)


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        each.close()


def messages(request: Request, count: int, seed: int) -> list[bytes]:
    return [request.message(words) for words in corpus.queries(count, seed)]
