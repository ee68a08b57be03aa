"""A small HTTP server on this machine that speaks OpenAI's chat API: from a script, faults included, or as a toy model.

    with ScriptedServer([error(429), said("Hello")]) as server:
        client = labkit.load(f"openai:any@{server.url}")

It is for tests and for lab 04. No model is in it: it shows what a client does, never how well a model answers.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Json = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the server sends.

    Attributes:
        pieces: Bytes that are sent one after the other; a number is a pause in seconds.
        status: HTTP status.
        headers: More headers.
        kind: Content type.
        cut: End by closing the connection in the middle, as a server that is killed does.
    """

    pieces: Sequence[bytes | float]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "text/event-stream"
    cut: bool = False


Step = Reply | Callable[[Json], Reply]


def event(data: Json) -> bytes:
    """One event of a stream."""
    return b"data: " + json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n\n"


def delta(text: str = "", *, finish: str | None = None, **more: Any) -> bytes:
    """One event of a chat answer. ``more`` stands beside its text, such as ``logprobs``."""
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish, **more}
    return event(
        {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "scripted", "choices": [choice]}
    )


def used(usage: Json) -> bytes:
    """The event after an answer that tells what it cost."""
    fixed = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "scripted"}
    return event({**fixed, "choices": [], "usage": usage})


def usage(prompt: int, made: int) -> Json:
    """OpenAI's ``usage``."""
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}


def said(*texts: str, finish: str = "stop", pause: float = 0.0, cut: bool = False) -> Reply:
    """A streamed answer in these pieces. With ``cut`` it breaks off after the last one."""
    pieces: list[bytes | float] = []
    for text in texts:
        pieces += [delta(text), pause] if pause else [delta(text)]
    if not cut:
        pieces += [delta(finish=finish), used(usage(1, len(texts))), b"data: [DONE]\n\n"]
    return Reply(pieces, cut=cut)


def error(status: int, message: str = "as the script says", **headers: str) -> Reply:
    """An error in OpenAI's shape."""
    body = json.dumps({"error": {"message": message, "type": "scripted", "code": None}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply([body], status, named, "application/json")


def whole(data: Json) -> Reply:
    """A JSON document."""
    return Reply([json.dumps(data).encode()], kind="application/json")


class ScriptedServer:
    """Serves on a free loopback port, each connection in a thread of its own.

    Args:
        script: Replies to POST requests in their order: a ``Reply`` or a function of the request's body.
        otherwise: Answers when the script is at its end; without it such a request gets status 501.
        pages: What GET requests answer, by path; ``/v1/models`` is there already.
    """

    def __init__(
        self, script: Sequence[Step] = (), otherwise: Step | None = None, pages: dict[str, Json] | None = None
    ) -> None:
        self.script = list(script)
        self.otherwise = otherwise
        self.pages = {"/v1/models": {"object": "list", "data": [{"id": "scripted"}]}} | (pages or {})
        self.routes: dict[str, Step] = {}
        """Answers to POST requests on other paths."""
        self.requests: list[Json] = []
        """The bodies of all chat requests, in order."""
        self.left = threading.Event()
        """Set when a client went away before the end of an answer."""
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def answer(self, path: str, body: Json) -> Reply:
        """The reply to one POST request."""
        with self._lock:
            if path in self.routes:
                step = self.routes[path]
            else:
                self.requests.append(body)
                step = self.script.pop(0) if self.script else self.otherwise
        if step is None:
            return error(501, "The script has no step left.")
        return step if isinstance(step, Reply) else step(body)

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients of a test go away when they like."""


def _handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30
        disable_nagle_algorithm = (
            True  # otherwise each reply on an open connection waits 40 ms for an acknowledgement
        )

        def do_GET(self) -> None:
            page = server.pages.get(self.path)
            self.reply(error(404) if page is None else whole(page))

        def do_POST(self) -> None:
            read = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.reply(server.answer(self.path, json.loads(read or b"{}")))

        def reply(self, reply: Reply) -> None:
            self.send_response(reply.status)
            headers = {"Content-Type": reply.kind, "Transfer-Encoding": "chunked", **reply.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for piece in reply.pieces:
                    if piece == b"":
                        continue  # an empty chunk would end the reply
                    if isinstance(piece, bytes):
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                        self.wfile.flush()
                    else:
                        time.sleep(piece)
                if not reply.cut:
                    self.wfile.write(b"0\r\n\r\n")
            except OSError:
                server.left.set()
                self.close_connection = True
            if reply.cut:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Keep tests quiet."""

    return Handler
