"""A hub on this machine, for tests: it answers as the hub's API does, with repositories that a test lays into it."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMITS = {"main": "a" * 40, "v1": "b" * 40}
LARGE = 1000  # bytes; above it a file is stored under its SHA-256, as the hub does with weights


def tag(content: bytes) -> str:
    """Name content as the hub does: large files by SHA-256, small ones by git's hash."""
    if len(content) > LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Server(ThreadingHTTPServer):
    """A hub that can misbehave.

    Attributes:
        repositories: By id, the files that a model's repository holds; all its revisions hold the same.
        cards: By id, what the listing tells beside the names of files, such as `cardData` and `tags`.
        closed: By id, a status and error code that meet every request for a model.
        sent: Files whose content goes out as something else.
        cuts: How many transfers of weights still break off half way.
        answer: A status and error code that meet every request, if any.
        silent: Requests are accepted and never answered.
        asked: The requests that came, as "GET path".
    """

    daemon_threads = True

    def __init__(self, repositories: Mapping[str, Mapping[str, bytes]]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = dict(repositories)
        self.cards: dict[str, dict[str, Any]] = {}
        self.closed: dict[str, tuple[int, str]] = {}
        self.sent: dict[str, bytes] = {}
        self.cuts, self.silent, self.closing = 0, False, threading.Event()
        self.answer: tuple[int, str] | None = None
        self.asked: list[str] = []

    def downloads(self) -> list[str]:
        """Name the files whose content was asked for since this was last called, in order of their names."""
        asked, self.asked = self.asked, []
        return sorted(line.split("/", 5)[-1] for line in asked if line.startswith("GET /org/") and "/resolve/" in line)

    def environment(self, cache: Path) -> dict[str, str]:
        """Give the environment of a process whose hub this is, with an empty cache and nobody logged in."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        url = f"http://127.0.0.1:{self.server_port}"
        return kept | {"HF_ENDPOINT": url, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1"}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.asked.append(f"{self.command} {self.path}")
        if self.server.silent:
            self.server.closing.wait(60)
            return
        parts = self.path.strip("/").split("/", 4)
        name = "/".join(parts[2:4] if parts[:2] == ["api", "models"] else parts[:2])
        refusal = self.server.answer or self.server.closed.get(name)
        match parts:
            case _ if refusal:
                self.reply(refusal[0], b"", {"X-Error-Code": refusal[1]} if refusal[1] else {})
            case _ if name not in self.server.repositories:
                self.reply(404, b"", {"X-Error-Code": "RepoNotFound"})
            case ["api", "models", _, _]:
                self.listing(name, "main")
            case ["api", "models", _, _, place] if place.startswith("revision/"):
                self.listing(name, place.removeprefix("revision/"))
            case [_, _, "resolve", revision, file]:
                self.file(name, COMMITS.get(revision, revision), file)
            case _:
                self.reply(404, b"", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def listing(self, name: str, revision: str):
        if revision not in (*COMMITS, *COMMITS.values()):
            self.reply(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        files = [{"rfilename": file} for file in self.server.repositories[name]]
        about = {"id": name, "sha": COMMITS.get(revision, revision), "siblings": files}
        about |= self.server.cards.get(name, {})
        self.reply(200, json.dumps(about).encode(), {"Content-Type": "application/json"})

    def file(self, name: str, commit: str, file: str):
        true = self.server.repositories[name][file]
        content = self.server.sent.get(file, true) if self.command == "GET" else true
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        about = {"ETag": f'"{tag(true)}"', "X-Repo-Commit": commit, "X-Linked-Size": str(len(true))}
        if first:
            about["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self.reply(206 if first else 200, content[first:], about)

    def reply(self, status: int, body: bytes, headers: dict[str, str]):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            cut = len(body) > LARGE and self.server.cuts > 0
            self.server.cuts -= cut
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = True

    def log_message(self, *args):
        pass


@contextmanager
def serving(repositories: Mapping[str, Mapping[str, bytes]]) -> Iterator[Server]:
    """Serve repositories for a while; see `Server`."""
    with Server(repositories) as served:
        threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield served
        finally:
            served.closing.set()
            served.shutdown()
