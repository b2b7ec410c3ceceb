"""What the proxy of the kit says of single jobs, and what its newer faults do to an answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.proxy import FaultyProxy

JOBS = "/api/jobs/v1beta3"
TOKEN = "a-token-of-the-account"


def job(job_id: str, *, with_items: bool) -> dict[str, Any]:
    item = {"status": {"status": "COMPLETED"}, "result_id": f"result-of-{job_id}"}
    definition = {"items": [item]} if with_items else {}
    return {"id": job_id, "attributes": {"status": {"status": "COMPLETED"}, "definition": definition}}


class Service(BaseHTTPRequestHandler):
    """Two jobs that are done, as Nexus shows them."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        if path == JOBS:
            is_first = "page%5Bnumber%5D=0" in self.path or "page" not in self.path
            jobs = [job(each, with_items=False) for each in ("a", "b")] if is_first else []
            body: Any = {"data": jobs, "meta": {"total_pages": 1}}
        elif path.startswith(JOBS):
            body = {"data": job(path.split("/")[4], with_items=True)}
        else:
            body = {"data": {"counts": 1}}
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[FaultyProxy]:
    Service.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    with FaultyProxy(f"http://127.0.0.1:{server.server_port}") as proxy:
        yield proxy
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def client(proxy: FaultyProxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy.url, headers={"cookie": f"myqos_oat={TOKEN}"}) as client:
        yield client


def ids(client: httpx.Client, **params: str) -> list[str]:
    return [each["id"] for each in client.get(JOBS, params=params).json()["data"]]


def test_forgotten(proxy: FaultyProxy, client: httpx.Client) -> None:
    """A forgotten job is in no list and not found by its id, and comes back."""
    proxy.whims.forgotten = {"a"}
    assert ids(client) == ["b"]
    assert client.get(f"{JOBS}/a").status_code == 404
    assert client.post(f"{JOBS}/a/rpc/cancel").status_code == 404
    assert client.get(f"{JOBS}/b").status_code == 200
    proxy.whims.forgotten.clear()
    assert ids(client) == ["a", "b"]


def test_refused(proxy: FaultyProxy, client: httpx.Client) -> None:
    """One job is refused, on one route; the service is not asked."""
    proxy.whims.refused = {"a": {Route.CANCEL: 500, Route.STATUS: 403}}
    assert client.get(f"{JOBS}/a").status_code == 403
    assert client.post(f"{JOBS}/a/rpc/cancel").status_code == 500
    assert client.post(f"{JOBS}/b/rpc/cancel").status_code == 200
    assert Service.asked == [f"POST {JOBS}/b/rpc/cancel"]


def test_words(proxy: FaultyProxy, client: httpx.Client) -> None:
    """A final job is queued again, or keeps an item open, as long as the proxy says so."""
    proxy.whims.words = {"a": "QUEUED"}
    proxy.whims.item_words = {"b": {0: "RUNNING"}}
    listed = client.get(JOBS).json()["data"]
    assert [each["attributes"]["status"]["status"] for each in listed] == ["QUEUED", "COMPLETED"]
    assert client.get(f"{JOBS}/a").json()["data"]["attributes"]["status"]["status"] == "QUEUED"
    attributes = client.get(f"{JOBS}/b").json()["data"]["attributes"]
    assert attributes["status"]["status"] == "COMPLETED"
    assert attributes["definition"]["items"][0]["status"]["status"] == "RUNNING"


def test_withheld(proxy: FaultyProxy, client: httpx.Client) -> None:
    """A result of a chosen position is gone for ever."""
    proxy.whims.withheld = {0}
    client.get(f"{JOBS}/a")
    for _ in range(2):
        assert client.get("/api/results/v1beta3/result-of-a").status_code == 410
    assert client.get("/api/results/v1beta3/result-of-b").status_code == 200, "the job was not shown yet"


def test_endless(proxy: FaultyProxy, client: httpx.Client) -> None:
    """Every page is the first one, and promises more."""
    proxy.inject(Fault(route=Route.LISTING, action=Action.ENDLESS, times=100))
    for number in ("0", "1", "7"):
        body = client.get(JOBS, params={"page[number]": number}).json()
        assert [each["id"] for each in body["data"]] == ["a", "b"]
        assert body["meta"]["total_pages"] > 1_000_000


def test_echo(proxy: FaultyProxy, client: httpx.Client) -> None:
    """A gateway repeats the headers of a request that was carried out, in a page as long as wished."""
    proxy.inject(Fault(route=Route.STATUS, action=Action.ECHO, code=401, size=3_000_000))
    response = client.get(f"{JOBS}/a")
    assert response.status_code == 401
    assert TOKEN in response.text
    assert len(response.text) >= 3_000_000
    assert Service.asked == [f"GET {JOBS}/a"]


def test_for_a_while(proxy: FaultyProxy, client: httpx.Client) -> None:
    """A list tells of nothing for so many seconds of the proxy's clock."""
    now = [100.0]
    proxy.clock = lambda: now[0]
    proxy.inject(Fault(route=Route.FIND, action=Action.NOTHING, for_s=20.0, skip=1))
    find = {"filter[name_exact]": "k"}
    assert ids(client, **find) == ["a", "b"]
    now[0] += 50.0
    assert ids(client, **find) == []
    now[0] += 19.0
    assert ids(client, **find) == []
    now[0] += 1.0
    assert ids(client, **find) == ["a", "b"]


@pytest.mark.parametrize("proved", [False, True])
def test_code(proxy: FaultyProxy, client: httpx.Client, proved: bool) -> None:
    """A gateway answers a page, Nexus itself one of its own errors."""
    proxy.inject(Fault(route=Route.STATUS, action=Action.CODE_BEFORE, code=429, proved=proved))
    response = client.get(f"{JOBS}/a")
    assert response.status_code == 429
    assert response.headers["content-type"].startswith("application/json" if proved else "text/html")
    assert Service.asked == []
