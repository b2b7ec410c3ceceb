"""One job of 300 circuits through the job service, over bare Aer on the same circuits. Run it with: make bench-service

Everything is measured in one run, with the service's workers warm: it runs as a person would start it (TLS, SQLite),
and a client without any of our code uploads, submits, waits and fetches every result.

- bare Aer: the faster of two ways to run the list of circuits, with `get_counts` for every one;
- job: from the submission to the last item's result;
- fetch, upload: 300 requests each, over as many connections as there are threads;
- status: how many questions a second the service answers while it runs such a job, and when it is idle.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from waiting_service import made, signed_in

from qjobs.service.running import RunningService

N_QUBITS = 8
FINAL = {"COMPLETED", "ERROR", "CANCELLED", "DEPLETED", "TERMINATED"}


def circuits_of(number: int) -> list[Any]:
    """QAOA for MaxCut on a ring with chords, two layers, at random angles."""
    from qiskit import QuantumCircuit

    rng = random.Random(1)
    edges = [(n, (n + 1) % N_QUBITS) for n in range(N_QUBITS)] + [(n, n + N_QUBITS // 2) for n in range(N_QUBITS // 2)]
    found = []
    for _ in range(number):
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


def timed(call: Callable[[], object], repeat: int) -> float:
    """Median wall time in seconds."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def bare_aer(circuits: list[Any], shots: int, repeat: int) -> dict[str, float]:
    """Seconds per way to run the list."""
    from qiskit_aer import AerSimulator

    def run(simulator: Any) -> object:
        result = simulator.run(circuits, shots=shots).result()
        return [result.get_counts(place) for place in range(len(circuits))]

    ways = {"in one thread": {}, "in parallel": {"max_parallel_experiments": os.cpu_count() or 1}}
    found = {}
    for name, options in ways.items():
        simulator = AerSimulator(**options)
        run(simulator)
        found[name] = timed(lambda simulator=simulator: run(simulator), repeat)
    return found


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

    def asked_per_s(self, job: str, ends: Callable[[str], bool]) -> float:
        """Status questions a second, until an answer `ends` it."""
        start = time.perf_counter()

        def ask(_: int) -> int:
            number = 1
            while not ends(self.status(job)):
                number += 1
            return number

        return sum(self.each(ask, list(range(self._threads)))) / (time.perf_counter() - start)


@contextmanager
def client_of_a_service(folder: Path, threads: int) -> Iterator[Client]:
    """A service of our own and a user of it."""
    options = ["--submit-delay", "0", "--access-ttl", "86400"]
    limits = httpx.Limits(max_connections=threads, max_keepalive_connections=threads)
    with RunningService(folder / "service", options=options) as service, signed_in(service, limits=limits) as http:
        yield Client(http, threads)


def bodies_of(circuits: list[Any], relationships: dict[str, Any]) -> list[str]:
    """What the client of Nexus uploads."""
    from qjobs.circuits.pytket import qiskit_to_pytket

    found = []
    for number, circuit in enumerate(circuits):
        attributes = {**qiskit_to_pytket(circuit).to_dict(), "name": f"circuit {number}"}
        data = {"type": "circuit", "attributes": attributes, "relationships": relationships}
        found.append(json.dumps({"data": data}))
    return found


def through_service(client: Client, bodies: list[str], shots: int, repeat: int) -> dict[str, float]:
    """Median seconds of each stage, and of all of them together."""
    rounds = []
    for _ in range(repeat):
        moments = [time.perf_counter()]
        circuits = client.upload(bodies)
        moments.append(time.perf_counter())
        job = client.submit(circuits, shots)
        client.wait(job)
        moments.append(time.perf_counter())
        results = client.fetch(job)
        moments.append(time.perf_counter())
        if [len(shots_of["array"]) for shots_of in results] != [shots] * len(bodies):
            raise SystemExit("some results have too few shots")
        rounds.append([after - before for before, after in itertools.pairwise(moments)])
    upload, run, fetch = (statistics.median(stage) for stage in zip(*rounds, strict=True))
    return {"upload": upload, "job": run, "fetch": fetch, "all of it": statistics.median(map(sum, rounds))}


def status_rates(client: Client, bodies: list[str], shots: int, idle_s: float = 2.0) -> dict[str, float]:
    """Answered status questions a second, while the service is idle and while it runs a job."""
    job = client.submit(client.upload(bodies), shots)
    client.wait(job)
    end = time.perf_counter() + idle_s
    idle = client.asked_per_s(job, lambda _: time.perf_counter() > end)
    busy_job = client.submit(client.upload(bodies), shots)
    return {"idle": idle, "while it runs a job": client.asked_per_s(busy_job, lambda status: status in FINAL)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--circuits", type=int, default=300)
    parser.add_argument("--shots", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()
    circuits = circuits_of(options.circuits)
    ways = bare_aer(circuits, options.shots, options.repeat)
    fastest = min(ways.values())
    with (
        tempfile.TemporaryDirectory(prefix="qjobs-bench-") as name,
        client_of_a_service(Path(name), options.threads) as client,
    ):
        bodies = bodies_of(circuits, client.relationships)
        through_service(client, bodies, options.shots, 1)  # the workers import and compile
        stages = through_service(client, bodies, options.shots, options.repeat)
        rates = status_rates(client, bodies, options.shots)
    print(
        f"{options.circuits} circuits of {N_QUBITS} qubits, {options.shots} shots, median of {options.repeat}; "
        "ratios over the faster bare Aer"
    )
    rows = {f"bare Aer, {way}": seconds for way, seconds in ways.items()}
    rows |= {f"service, {stage}": seconds for stage, seconds in stages.items()}
    for label, seconds in rows.items():
        print(f"  {label:34} {seconds:8.3f} s  {seconds / fastest:7.2f}")
    print(f"status requests a second, {options.threads} connections")
    for label, rate in rates.items():
        print(f"  {label:34} {rate:8.0f}")


if __name__ == "__main__":
    main()
