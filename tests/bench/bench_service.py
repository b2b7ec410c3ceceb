"""One job of 300 circuits through the job service, over bare Aer on the same circuits. Run it with: make bench-service

Everything is measured in one run, in turns, with the service's workers warm: it runs as a person would start it (TLS,
SQLite), and a client without any of our code uploads, submits, waits and fetches every result.

- bare Aer: the faster of two ways to run the list of circuits, with `get_counts` for every one;
- job: from the submission to the last item's status; circuits that differ in their angles alone, and others that differ
  in their gates;
- fetch, upload: 300 requests each, over as many connections as there are threads;
- a request: one after the other, over one connection;
- 50 users poll: each asks for the status of a job of their own once a second, over a connection of their own.

It ends with 1 if a bound is broken: a job takes at most twice as long as bare Aer, and with 50 users who poll at most
1.3 times as long as without.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from bounds import verdict
from waiting_service import made, signed_in

from qjobs.service.running import RunningService

N_QUBITS = 8
MOST_OVER_AER = 2.0
MOST_WITH_POLLERS = 1.3
N_POLLERS = 50
POLL_S = 1.0
FINAL = {"COMPLETED", "ERROR", "CANCELLED", "DEPLETED", "TERMINATED"}


def circuits_of(number: int, *, different: bool = False) -> list[Any]:
    """QAOA for MaxCut on a ring with chords, two layers, at random angles; `different` chords for each circuit."""
    from qiskit import QuantumCircuit

    rng = random.Random(1)
    ring = [(n, (n + 1) % N_QUBITS) for n in range(N_QUBITS)]
    chords = [(n, n + N_QUBITS // 2) for n in range(N_QUBITS // 2)]
    others = [pair for pair in itertools.combinations(range(N_QUBITS), 2) if pair not in ring]
    found = []
    for _ in range(number):
        edges = ring + (rng.sample(others, len(chords)) if different else chords)
        circuit = QuantumCircuit(N_QUBITS, N_QUBITS)
        circuit.h(range(N_QUBITS))
        for _ in range(2):
            gamma = rng.uniform(0, 2 * math.pi)
            beta = rng.uniform(0, math.pi)
            for first, second in edges:
                circuit.rzz(gamma, first, second)
            circuit.rx(2 * beta, range(N_QUBITS))
        circuit.measure(range(N_QUBITS), range(N_QUBITS))
        found.append(circuit)
    return found


def seconds_of(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def bare_aer(circuits: list[Any], shots: int) -> dict[str, Callable[[], object]]:
    """The ways to run the list."""
    from qiskit_aer import AerSimulator

    def run(simulator: Any) -> object:
        result = simulator.run(circuits, shots=shots).result()
        return [result.get_counts(place) for place in range(len(circuits))]

    ways = {"in one thread": {}, "in parallel": {"max_parallel_experiments": os.cpu_count() or 1}}
    return {name: functools.partial(run, AerSimulator(**options)) for name, options in ways.items()}


class Client:
    """A user of the service, with as many connections as threads."""

    def __init__(self, http: httpx.Client, threads: int) -> None:
        self._http = http
        self._threads = threads
        project = made(http, "/api/projects/v1beta2", "project", {"name": f"bench {time.time_ns()}"})
        self.relationships = {"project": {"data": {"id": project, "type": "project"}}}

    def post(self, path: str, body: str) -> Any:
        answer = self._http.post(path, content=body, headers={"Content-Type": "application/json"})
        answer.raise_for_status()
        return answer.json()

    def get(self, path: str) -> Any:
        answer = self._http.get(path)
        answer.raise_for_status()
        return answer.json()

    def each(self, call: Callable[[Any], Any], values: list[Any]) -> list[Any]:
        """Call for every value, over all connections."""
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(call, values))

    def upload(self, bodies: list[str]) -> list[str]:
        """Ids of the circuits."""
        return self.each(lambda body: str(self.post("/api/circuits/v1beta2", body)["data"]["id"]), bodies)

    def submit(self, circuits: list[str], shots: int) -> str:
        """Id of a job."""
        definition = {
            "job_definition_type": "execute_job_definition",
            "backend_config": {"type": "AerConfig"},
            "items": [{"program_id": circuit, "n_shots": shots} for circuit in circuits],
        }
        attributes = {"name": "bench", "job_type": "execute", "definition": definition}
        data = {"type": "job", "attributes": attributes, "relationships": self.relationships}
        return str(self.post("/api/jobs/v1beta3", json.dumps({"data": data}))["data"]["id"])

    def status(self, job: str) -> str:
        return str(self.get(f"/api/jobs/v1beta3/{job}/attributes/status")["status"])

    def run(self, circuits: list[str], shots: int) -> str:
        """Submit and wait; id of the job."""
        job = self.submit(circuits, shots)
        self.wait(job)
        return job

    def wait(self, job: str) -> None:
        """Until it is completed."""
        while (status := self.status(job)) not in FINAL:
            time.sleep(0.02)
        if status != "COMPLETED":
            raise SystemExit(f"the job ended as {status}: {self.get(f'/api/jobs/v1beta3/{job}')}")

    def fetch(self, job: str) -> list[Any]:
        """Every result, as the client of Nexus reads it."""
        items = self.get(f"/api/jobs/v1beta3/{job}")["data"]["attributes"]["definition"]["items"]
        paths = [f"/api/results/v1beta3/{item['result_id']}" for item in items]
        return self.each(lambda path: self.get(path)["data"]["attributes"]["shots"], paths)


@contextmanager
def clients_of_a_service(folder: Path, threads: int) -> Iterator[tuple[Client, list[Client]]]:
    """A service of our own, a user of it, and 50 more."""
    options = ["--submit-delay", "0", "--access-ttl", "86400"]
    users = {f"user{number}@localhost.test": f"secret {number}" for number in range(N_POLLERS + 1)}
    with RunningService(folder / "service", options=options, users=users) as service, ExitStack() as stack:
        clients = []
        for number, who in enumerate(users.items()):
            most = 1 if number else threads
            limits = httpx.Limits(max_connections=most, max_keepalive_connections=most)
            clients.append(Client(stack.enter_context(signed_in(service, who, limits=limits)), most))
        yield clients[0], clients[1:]


@contextmanager
def polling(clients: list[Client], jobs: list[str]) -> Iterator[list[float]]:
    """Users who ask for the status of their jobs; how long each question took, in seconds."""
    stopped = threading.Event()
    taken: list[float] = []

    def poll(client: Client, job: str, late_s: float) -> None:
        stopped.wait(late_s)
        while not stopped.is_set():
            took = seconds_of(lambda: client.status(job))
            taken.append(took)
            stopped.wait(max(0.0, POLL_S - took))

    with ThreadPoolExecutor(len(clients)) as pool:
        asking = [
            pool.submit(poll, client, job, POLL_S * number / len(clients))
            for number, (client, job) in enumerate(zip(clients, jobs, strict=True))
        ]
        try:
            time.sleep(POLL_S)
            yield taken
        finally:
            stopped.set()
            for each in asking:
                each.result()


def bodies_of(circuits: list[Any], relationships: dict[str, Any]) -> list[str]:
    """What the client of Nexus uploads."""
    from qjobs.circuits.pytket import qiskit_to_pytket

    found = []
    for number, circuit in enumerate(circuits):
        attributes = {**qiskit_to_pytket(circuit).to_dict(), "name": f"circuit {number}"}
        data = {"type": "circuit", "attributes": attributes, "relationships": relationships}
        found.append(json.dumps({"data": data}))
    return found


def over_aer(client: Client, label: str, circuits: list[Any], shots: int, repeat: int) -> list[str]:
    """A job beside bare Aer, in turns; the bound that is broken."""
    ids = client.upload(bodies_of(circuits, client.relationships))
    ways = bare_aer(circuits, shots)
    calls: dict[str, Callable[[], object]] = {**ways, "job": lambda: client.run(ids, shots)}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeat + 1):
        for name, call in calls.items():
            seconds = seconds_of(call)
            if number:  # first the workers import and compile
                taken[name].append(seconds)
    medians = {name: statistics.median(each) for name, each in taken.items()}
    fastest = min(medians[name] for name in ways)
    ratio = medians["job"] / fastest
    print(f"  {label:34} {shots:6} {fastest:8.3f} {medians['job']:8.3f} {ratio:8.2f} {MOST_OVER_AER:8.2f}")
    return [f"{label}, {shots} shots: {ratio:.2f} times bare Aer"] if ratio > MOST_OVER_AER else []


def show_round_trip(client: Client, circuits: list[Any], shots: int, repeat: int) -> None:
    """Print how long everything takes that the real client does for a list of circuits."""
    bodies = bodies_of(circuits, client.relationships)
    rounds = []
    for _ in range(repeat):
        moments = [time.perf_counter()]
        ids = client.upload(bodies)
        moments.append(time.perf_counter())
        job = client.run(ids, shots)
        moments.append(time.perf_counter())
        results = client.fetch(job)
        moments.append(time.perf_counter())
        if [len(shots_of["array"]) for shots_of in results] != [shots] * len(bodies):
            raise SystemExit("some results have too few shots")
        rounds.append([after - before for before, after in itertools.pairwise(moments)])
    stages = [statistics.median(stage) for stage in zip(*rounds, strict=True)]
    words = ", ".join(f"{name} {s:.2f}" for name, s in zip(("upload", "job", "fetch"), stages, strict=True))
    print(f"the whole round trip of {len(bodies)} circuits, {shots} shots: {sum(stages):.2f} s ({words})")


def show_requests(client: Client, circuits: list[Any], shots: int) -> None:
    """Print milliseconds a request."""
    bodies = bodies_of(circuits[:100], client.relationships)
    ids: list[str] = []
    path = "/api/circuits/v1beta2"

    def upload() -> None:
        for body in bodies:
            ids.append(str(client.post(path, body)["data"]["id"]))

    uploads = seconds_of(upload)
    job = client.run(ids, shots)
    items = client.get(f"/api/jobs/v1beta3/{job}")["data"]["attributes"]["definition"]["items"]
    results = seconds_of(lambda: [client.get(f"/api/results/v1beta3/{item['result_id']}") for item in items])
    downloads = seconds_of(lambda: [client.get(f"{path}/{each}") for each in ids])
    statuses = seconds_of(lambda: [client.status(job) for _ in ids])
    taken = {"upload": uploads, "status": statuses, "result": results, "circuit": downloads}
    print("ms a request: " + ", ".join(f"{name} {1000 * s / len(ids):.1f}" for name, s in taken.items()))


def with_pollers(client: Client, users: list[Client], circuits: list[Any], shots: int, repeat: int) -> list[str]:
    """A job while 50 users poll beside one while nobody does, in turns; the bound that is broken."""
    ids = client.upload(bodies_of(circuits, client.relationships))
    jobs = [user.run(user.upload(bodies_of(circuits[:1], user.relationships)), shots) for user in users]
    alone = []
    among = []
    asked: list[float] = []
    for _ in range(repeat):
        alone.append(seconds_of(lambda: client.run(ids, shots)))
        with polling(users, jobs) as taken:
            among.append(seconds_of(lambda: client.run(ids, shots)))
        asked += taken
    ratio = statistics.median(among) / statistics.median(alone)
    ninth = 1000 * statistics.quantiles(asked, n=10)[-1]
    print(
        f"{len(users)} users poll, a question each {POLL_S:.0f} s: {len(asked)} questions, 90 % within {ninth:.0f} ms"
    )
    print(f"  {'job with them over without':34} {ratio:32.2f} {MOST_WITH_POLLERS:8.2f}")
    return (
        [f"with {len(users)} users who poll a job takes {ratio:.2f} times as long"] if ratio > MOST_WITH_POLLERS else []
    )


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--circuits", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()
    alike = circuits_of(options.circuits)
    different = circuits_of(options.circuits, different=True)
    broken = []
    with (
        tempfile.TemporaryDirectory(prefix="qjobs-bench-") as name,
        clients_of_a_service(Path(name), options.threads) as (client, users),
    ):
        print(f"{options.circuits} circuits of {N_QUBITS} qubits, medians of {options.repeat}, in turns")
        print(f"  {'seconds':34} {'shots':>6} {'bare Aer':>8} {'job':>8} {'ratio':>8} {'bound':>8}")
        for shots in (100, 1000):
            broken += over_aer(client, "alike but for their angles", alike, shots, options.repeat)
            broken += over_aer(client, "different gates", different, shots, options.repeat)
        show_round_trip(client, alike, 100, 3)
        show_requests(client, alike, 100)
        broken += with_pollers(client, users, different, 1000, options.repeat)
    return verdict(broken)


if __name__ == "__main__":
    sys.exit(main())
