"""Attacks on the service, one by one: how long others waited meanwhile, failures, memory. `make attack` prints it.

The attacker comes from 127.0.0.2, and somebody else asks who they are every 20 ms from 127.0.0.1, over a connection of
their own and from a process of their own. A busy machine makes people wait too: so beside each wait stands how much of
it can be the service's, no more than the processor time that it used meanwhile. Then come made-up requests over every
route, as nobody, as a user, and as another user; and where schemathesis is installed, those that it makes up.

    python tests/service/attack_table.py [NUMBER OF REQUESTS]

It ends with 1 if somebody waited for half a second or longer, if an answer was a 5xx or held another
user's data, if the service has ended, or if its process took more than 600 MB.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from attack_people import SECRET, USERS, Person
from attack_values import values_of
from fuzzing import Attack, Wire

from qjobs.service.running import RunningService

__all__ = ["MOST_MB", "Table", "attack"]

MOST_WAIT_S = 0.5
MOST_MB = 600
_ATTACKER = "127.0.0.2"
_N_THREADS = 4
_START_S = 180.0
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Line:
    """One attack: how long somebody waited for an answer, and how much of it was the service's doing."""

    name: str
    kept_s: float
    waited_s: float
    n_requests: int
    n_failed: int


@dataclass
class Table:
    """What all attacks together did."""

    say: Callable[[str], object] = lambda _: None
    lines: list[Line] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    highest_mb: float = 0.0
    is_alive: bool = False

    def add(self, name: str, waits: tuple[float, float], n_requests: int, n_failed: int) -> None:
        """Keep a line, and say it."""
        self.lines.append(Line(name, *waits, n_requests, n_failed))
        kept_s, waited_s = waits
        self.say(f"{name:36} {kept_s:10.3f} s {waited_s:10.3f} s {n_requests:9,} {n_failed:4}")

    def is_good(self, *, busy: bool = False) -> bool:
        """Whether the service stood it, and nobody waited; on a `busy` machine: nobody for the service."""
        failed = sum(line.n_failed for line in self.lines)
        wait_s = max(line.kept_s if busy else line.waited_s for line in self.lines)
        is_well = self.is_alive and self.highest_mb < MOST_MB and wait_s < MOST_WAIT_S
        return is_well and not self.wrong and not failed


class Bystander:
    """Somebody who asks who they are every 20 ms, in a process of their own."""

    def __init__(self, person: Person) -> None:
        words = [sys.executable, __file__, "--bystander", str(person.service.port), str(person.service.pid)]
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "COOKIE": person.cookie, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.waits_s()

    def waits_s(self) -> tuple[float, float]:
        """The longest answers since this was asked last, with one that is asked for now: by the service, and in all."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        kept_s, waited_s = map(float, self._process.stdout.readline().split())
        return kept_s, waited_s

    def close(self) -> None:
        self._process.communicate(timeout=60)


def _processor_s(pid: int) -> float:
    """The processor time that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


class Waits:
    """The longest waits for one service."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._lock = threading.Lock()
        self.kept_s = 0.0
        self.waited_s = 0.0

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """A wait for one answer."""
        with self._lock:
            begin = time.perf_counter()
            used_s = _processor_s(self._pid)
            yield
            took_s = time.perf_counter() - begin
            self.kept_s = max(self.kept_s, min(took_s, _processor_s(self._pid) - used_s))
            self.waited_s = max(self.waited_s, took_s)


def stand_by(port: int, pid: int, cookie: str) -> None:
    """The process of a bystander."""
    wire = Wire("127.0.0.1", port, cookie)
    waits = Waits(pid)

    def ask() -> None:
        with waits.one():
            answer = wire.ask("GET", "/api/users/v1beta2/me")
        if answer.code != 200:
            waits.kept_s = 1000.0

    def again() -> None:
        while True:
            ask()
            time.sleep(0.02)

    threading.Thread(target=again, daemon=True).start()
    for _ in sys.stdin:
        ask()
        print(waits.kept_s, waits.waited_s, flush=True)
        waits.kept_s = waits.waited_s = 0.0


class Attacker:
    """What somebody does to a service, counted."""

    def __init__(self, service: RunningService, person: Person, size: float) -> None:
        self.service = service
        self.person = person
        self.size = size
        self.codes: list[int] = []

    def times(self, number: int, *, least: int = 2) -> int:
        """So often in the long form, and less often in the short one."""
        return max(least, int(number * self.size))

    def send(self, method: str, path: str, body: bytes, *, known: bool = False, kind: str = "application/json") -> None:
        """One request from the attacker's address, signed in or not; a service that hangs up has answered."""
        wire = self.person.wire(_ATTACKER) if known else Wire("127.0.0.1", self.service.port, source=_ATTACKER)
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.codes.append(wire.ask(method, path, body, kind).code)
        wire.close()

    def at_once(self, number: int, call: Callable[[int], object]) -> None:
        with ThreadPoolExecutor(number) as pool:
            list(pool.map(call, range(number)))

    @contextlib.contextmanager
    def connections(self, number: int) -> Iterator[list[socket.socket]]:
        """Many bare connections."""
        with contextlib.ExitStack() as stack:
            found = []
            for _ in range(number):
                with contextlib.suppress(OSError):
                    address = ("127.0.0.1", self.service.port)
                    bare = socket.create_connection(address, timeout=5, source_address=(_ATTACKER, 0))
                    found.append(stack.enter_context(bare))
            yield found


def _quotes_as_nobody(by: Attacker) -> None:
    for _ in range(by.times(20)):
        by.send("POST", "/auth/login", b'"' + b'\\"' * 30_000)


def _megabytes_as_nobody(by: Attacker) -> None:
    for path in ("/api/circuits/v1beta2", "/auth/login", "/v1/job", "/qoro/api/job/init", "/nothing"):
        by.send("POST", path, b'"' + b'\\"' * 10_000_000)


def _quotes_as_user(by: Attacker) -> None:
    by.send("POST", "/api/circuits/v1beta2", b'"' + b'\\"' * 15_000_000, known=True)
    by.send("POST", "/api/qir/v1beta", b'"a",' * 7_000_000, known=True)


def _values_as_user(by: Attacker) -> None:
    by.send("POST", "/api/circuits/v1beta2", b"[" + b"[]," * 10_000_000 + b"0]", known=True)
    body = b'{"data": {"attributes": {"commands": [' + b"[]," * 480_000 + b"0]}}}"
    for _ in range(by.times(4)):
        by.send("POST", "/api/circuits/v1beta2", body, known=True)


def _numbers_as_user(by: Attacker) -> None:
    by.send("POST", "/api/qir/v1beta", b"[" + (b"1" * 299 + b",") * 100_000 + b"0]", known=True)
    by.send("POST", "/api/qir/v1beta", b'{"a": "' + b"\\u1234" * 5_000_000 + b'"}', known=True)


def _many_large_at_once(by: Attacker) -> None:
    body = b'{"a": "' + "\U0001f4a9".encode() * 7_000_000 + b'"}'
    by.at_once(by.times(8), lambda _: by.send("POST", "/api/qir/v1beta", body, known=True))


def _depth(by: Attacker) -> None:
    for known in (False, True):
        by.send("POST", "/auth/login", b"[" * 16_000, known=known)
        by.send("POST", "/api/circuits/v1beta2", b'{"a":' * 2_000_000, known=known)


def _silent_connections(by: Attacker) -> None:
    with by.connections(by.times(600)):
        time.sleep(1.0)


def _slow_headers(by: Attacker) -> None:
    with by.connections(by.times(150)) as found:
        for letter in b"GET / HTTP/1.1\r\nX: abcdefgh":
            for each in found:
                with contextlib.suppress(OSError):
                    each.sendall(bytes([letter]))
            time.sleep(0.02)


def _slow_bodies(by: Attacker) -> None:
    head = b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 15000\r\n\r\n{"
    with by.connections(by.times(150)) as found:
        for each in found:
            with contextlib.suppress(OSError):
                each.sendall(head)
        time.sleep(1.0)


def _guesses(by: Attacker) -> None:
    def guess(number: int) -> None:
        wrong = json.dumps({"email": "ada@localhost.test", "password": f"wrong {number}"}).encode()
        for _ in range(by.times(5, least=1)):
            by.send("POST", "/auth/login", wrong)

    with ThreadPoolExecutor(1) as pool:
        guessing = pool.submit(by.at_once, 20, guess)
        time.sleep(0.5)
        owner = Wire("127.0.0.1", by.service.port)
        right = json.dumps({"email": "ada@localhost.test", "password": USERS["ada@localhost.test"]}).encode()
        code = owner.ask("POST", "/auth/login", right).code
        owner.close()
        guessing.result()
    assert code == 200, f"the owner is locked out: {code}"


def _device_codes(by: Attacker) -> None:
    for _ in range(by.times(300)):
        by.send("POST", "/auth/device/device_authorization", b"client_id=scales", kind=_FORM)


def _handshakes(by: Attacker) -> None:
    """Without TLS these are connections that send rubbish; `_tls` is the same where there is TLS."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)
    with by.connections(by.times(600)) as found:
        for each in found:
            with contextlib.suppress(OSError):
                each.sendall(hello)
        time.sleep(0.5)


ATTACKS = {
    "nothing": lambda _: time.sleep(1.0),
    "60 kB of quotation marks as nobody": _quotes_as_nobody,
    "20 MB as nobody": _megabytes_as_nobody,
    "30 MB of quotation marks as a user": _quotes_as_user,
    "30 MB of lists, a million values": _values_as_user,
    "30 MB of digits and escapes": _numbers_as_user,
    "eight times 28 MB at once": _many_large_at_once,
    "10 MB of depth": _depth,
    "600 connections that are silent": _silent_connections,
    "600 connections that speak no HTTP": _handshakes,
    "150 headers letter by letter": _slow_headers,
    "150 bodies that do not come": _slow_bodies,
    "20 threads that guess a password": _guesses,
    "300 device codes": _device_codes,
}


def attack(number: int, *, size: float = 1.0, say: Callable[[str], object] = lambda _: None) -> Table:
    """All attacks, then so many made-up requests; `size` is how much of each attack, 1 for all of it."""
    table = Table(say)
    options = ["--http", "--workers", "1", "--submit-delay", "0.1", "--access-ttl", "3600"]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        service = stack.enter_context(
            RunningService(Path(folder) / "service", users=USERS, options=options, start_timeout_s=_START_S)
        )
        ada = Person(service, "ada@localhost.test", SECRET)
        mallory = Person(service, "mallory@localhost.test", "mallory")
        bystander = Bystander(ada)
        stack.callback(bystander.close)
        for name, one in ATTACKS.items():
            by = Attacker(service, mallory, size)
            bystander.waits_s()
            one(by)
            failed = sum(code >= 500 for code in by.codes)
            table.add(name, bystander.waits_s(), len(by.codes), failed)
        before = ada.everything()
        _make_up(table, bystander, number, ada, mallory)
        _schemathesis(table, bystander, mallory, number)
        if ada.everything() != before:
            table.wrong.append("another user's things were changed")
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{service.pid}/status").read_text())
        table.highest_mb = int(found[1]) / 1000 if found else 0.0
        with contextlib.closing(mallory.wire()) as wire:
            table.is_alive = wire.ask("GET", "/").code == 200
        if "Traceback" in service.log.read_text():
            table.wrong.append(service.log.read_text()[-3000:])
    return table


def _make_up(table: Table, bystander: Bystander, number: int, ada: Person, mallory: Person) -> None:
    """A fifth of the requests as nobody, the rest as a user and as another one, who know each other's ids."""
    eve = Person(mallory.service, "eve@localhost.test", "eve")
    with contextlib.closing(mallory.wire()) as wire:
        document = wire.json("GET", "/openapi.json")
    nobody = {"as nobody": (lambda: Wire("127.0.0.1", mallory.service.port, source=_ATTACKER), mallory, 0.2)}
    users = {
        f"as {name}": (lambda by=by: by.wire(_ATTACKER), by, 0.4)
        for name, by in (("a user", mallory), ("another user", eve))
    }
    for name, (wire_of, by, share) in {**nobody, **users}.items():
        one = Attack(document, [*by.ids, *ada.ids], {**values_of(by, ada), "role_id": by.roles()}, SECRET.encode())
        bystander.waits_s()

        def some(seed: int, one: Attack = one, wire_of: Callable[[], Wire] = wire_of, share: float = share) -> None:
            wire = wire_of()
            one.run(wire, random.Random(seed), int(number * share) // _N_THREADS)
            wire.close()

        with ThreadPoolExecutor(_N_THREADS) as pool:
            list(pool.map(some, range(_N_THREADS)))
        failed = sum(count for code, count in one.codes.items() if code >= 500)
        table.add(f"made-up requests {name}", bystander.waits_s(), one.codes.total(), failed)
        table.wrong += one.wrong[:5]


def _schemathesis(table: Table, bystander: Bystander, mallory: Person, number: int) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    program = shutil.which("st", path=path)
    if program is None:
        return
    examples = max(1, number // 1000)
    bystander.waits_s()
    words = [program, "run", f"{mallory.service.url}/openapi.json", "-H", f"Cookie: {mallory.cookie}"]
    words += ["-H", f"Authorization: Bearer {mallory.token}", "--checks", "not_a_server_error", "-n", str(examples)]
    words += ["--phases", "fuzzing", "--generation-database", "none", "--exclude-path-regex", "^/(auth|login)"]
    words += ["--seed", "1", "--no-shrink", "--continue-on-failure", "--no-color", "--warnings", "off"]
    done = subprocess.run(
        [*words, "--max-time", str(min(120, max(15, number // 100)))],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    sent = re.search(r"(\d+) generated", done.stdout)
    failed = done.returncode != 0
    table.add("schemathesis", bystander.waits_s(), int(sent[1]) if sent else 0, int(failed))
    if failed:
        table.wrong.append(f"{done.stdout[-3000:]}{done.stderr[-1000:]}")


def handshakes_under_tls(table: Table) -> None:
    """600 connections to a service with TLS: half of them silent, half with a handshake that ends there."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        service = stack.enter_context(
            RunningService(folder / "service", users=USERS, options=["--workers", "1"], start_timeout_s=_START_S)
        )
        context = ssl.create_default_context(cafile=service.certificate)
        bystander = http.client.HTTPSConnection("127.0.0.1", service.port, context=context, timeout=60)
        waits = Waits(service.pid)
        with ProcessPoolExecutor(1) as pool:  # of its own, so that who waits does not wait for it
            shaking = pool.submit(_shake_often, service.port)
            while not shaking.done():
                with waits.one():
                    bystander.request("GET", "/auth/device")
                    bystander.getresponse().read()
                time.sleep(0.02)
        bystander.close()
        table.add("600 handshakes of TLS", (waits.kept_s, waits.waited_s), 600, 0)


def _shake_often(port: int) -> None:
    with ThreadPoolExecutor(20) as pool:
        for each in [pool.submit(_shake, port, number % 2 == 0) for number in range(600)]:
            each.result()


def _shake(port: int, is_silent: bool) -> None:
    with contextlib.suppress(OSError):
        bare = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(_ATTACKER, 0))
        with bare:
            if not is_silent:
                anyone = ssl.create_default_context()
                anyone.check_hostname = False
                anyone.verify_mode = ssl.CERT_NONE
                anyone.wrap_socket(bare).close()
            else:
                time.sleep(0.2)


def show_end(table: Table) -> None:
    """Print what is not said line by line."""
    print(f"the service is {'alive' if table.is_alive else 'gone'}; its process took at most {table.highest_mb:.0f} MB")
    for one in table.wrong:
        print(f"WRONG: {one}")


def main() -> int:
    if sys.argv[1:2] == ["--bystander"]:
        stand_by(int(sys.argv[2]), int(sys.argv[3]), os.environ["COOKIE"])
        return 0
    print(f"{'attack':36} {'kept others':>12} {'they waited':>12} {'requests':>9} {'5xx':>4}")
    table = attack(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, say=functools.partial(print, flush=True))
    handshakes_under_tls(table)
    show_end(table)
    return 0 if table.is_good() else 1


if __name__ == "__main__":
    sys.exit(main())
