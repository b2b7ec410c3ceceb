"""A real HTTP server of a few lines, for answers that no kit gives: echoed headers, pages without an end."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What is answered: a body as JSON, a code, and cookies."""

    body: object
    code: int = 200
    cookies: dict[str, str] = field(default_factory=dict)


Answering = Callable[[BaseHTTPRequestHandler, int], Answer]
"""From a request, and how many there were of its path, to the answer."""


class LittleServer:
    """The server, in a thread, on a free port of 127.0.0.1; `asked` counts requests by path."""

    def __init__(self, answering: Answering) -> None:
        self.asked: Counter[str] = Counter()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                path = self.path.partition("?")[0]
                owner.asked[path] += 1
                answer = answering(self, owner.asked[path])
                body = json.dumps(answer.body).encode()
                self.send_response(answer.code)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                for name, value in answer.cookies.items():
                    self.send_header("set-cookie", f"{name}={value}; Path=/")
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> LittleServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def endless_pages(most: int) -> Answering:
    """Nexus's routes, whose list of jobs gives the same full page for ever; after `most` pages it ends after all."""

    def answer(request: BaseHTTPRequestHandler, count: int) -> Answer:
        if "/tokens/" in request.path:
            return Answer({}, cookies={"myqos_id": "access"})
        if count >= most:
            return Answer({"data": []})
        return Answer({"data": [{"id": f"job-{n}", "attributes": {"name": f"other-{n}"}} for n in range(100)]})

    return answer


def echoing(request: BaseHTTPRequestHandler, _: int) -> Answer:
    """A gateway that accepts everything and answers with the headers that it got."""
    return Answer(
        {"headers": dict(sorted(request.headers.items(), key=lambda each: each[0].lower())), "accepted": True}, code=201
    )


def refusing(request: BaseHTTPRequestHandler, _: int) -> Answer:
    """Nexus with a list of devices that fails."""
    if "/tokens/" in request.path:
        return Answer({}, cookies={"myqos_id": "access"})
    return Answer({"message": "scripted 502"}, code=502)
