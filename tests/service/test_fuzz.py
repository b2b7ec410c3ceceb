"""Thousands of made-up requests."""

from __future__ import annotations

import random
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from attack_people import SECRET, Person
from fuzzing import SQL, Attack, operations
from qoro_person import BELL, observables, packed
from standing_service import GHZ

from qjobs.service.running import RunningService

pytestmark = [pytest.mark.slow, pytest.mark.timeout(360)]
N_REQUESTS = 10_000
N_THREADS = 8
ALWAYS_REFUSED = {
    ("GET", "/api/job_items/v1beta/{item_uuid}/runtime_traces"),  # nothing here makes any
    ("GET", "/api/qsys_results/v1beta2/partial/{result_id}"),  # nothing here runs HUGR
    ("GET", "/api/v6/remote_queue/{issuer}"),
    ("GET", "/auth/tokens"),  # these three need what a thread of the fuzzer does not send
    ("POST", "/auth/tokens/refresh"),
    ("POST", "/auth/device/token"),
    ("POST", "/auth/login"),
    ("POST", "/login"),
}


def test_ten_thousand_requests(
    attacked: RunningService,
    victim: Person,
    mallory: Person,
    openapi: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No made-up request makes the service fail, reveals another user's data, or changes it."""
    before = victim.everything()
    pid = attacked.pid
    unknown = [str(uuid.UUID(int=number)) for number in range(3)]
    own = {name: [value] for name, value in GHZ.items()} | {
        "project_id": [mallory.project] * 3 + [victim.project],
        "document_id": [mallory.circuit, mallory.qir, *mallory.files, victim.circuit, victim.qir],
        # What is deleted, archived or run again is not what the other requests need.
        "DELETE project_id": [mallory.spare_projects[0], mallory.project, victim.project],
        "PATCH project_id": [mallory.spare_projects[1], victim.project],
        "DELETE job_id": [mallory.spare_jobs[0], *victim.jobs],
        "POST job_id": [*mallory.spare_jobs[1:], *victim.jobs],
        "job_id": [*mallory.jobs, *victim.jobs],
        "result_id": [mallory.result, victim.result],
        "compilation_id": [mallory.compilation, victim.compilation],
        "filter[compilation][id]": [mallory.compilation, victim.compilation],
        "team_id": [mallory.team, victim.team],
        "resource_id": [mallory.project, victim.project],
        "for_user_id": [mallory.user, victim.user],
        "entity_id": [mallory.user, victim.user],
        "user_id": [mallory.user, victim.user],
        "name": ["a name", *SQL, mallory.user, victim.user, "simulation", "ada@localhost.test"],
        "device_name": ["H1-1", "H2-1SC", "Aer"],
        "id": [mallory.project] * 5 + [victim.project, mallory.circuit],
        "definition": [mallory.definition("execute"), mallory.definition("compile"), victim.definition("execute")],
        "job_type": ["execute", "execute", "compile", "EXECUTE", "EXPECTATION"],
        "simulator_cluster": ["Aer", "qoro_maestro"],
        "qpu_system_name": [None, None, "H1-1"],
        "DELETE qoro_id": [*mallory.qoro_jobs[:5], victim.qoro_done, victim.qoro_jobs[0]],
        "POST qoro_id": [*mallory.qoro_jobs[5:], victim.qoro_done, victim.qoro_jobs[0]],
        "qoro_id": [mallory.qoro_done, *mallory.qoro_jobs[-3:], victim.qoro_done, victim.qoro_jobs[0]],
        "circuits": [{"a": packed(BELL)}, {"a": packed(BELL)}, {"a": "QUJD"}, {}],
        "circuit_template": [None, None, packed(BELL), "QUJD"],
        "shots": [10, 10**9],
        "shot_groups": [None, None, [[0, 1, 5]], [[1, 0, 5]]],
        "observables": [None, None, "@gzs2:QUJD", observables("Z0;X1")],
        "circuit_ham_map": [None, None, [[0, 1]]],
        "finalized": ["true", "false"],
        "backend_config": [{"type": "AerConfig"}, {"type": "QuantinuumConfig", "device_name": "H1-1"}],
        "property": ["supports_shots", "supports_nothing"],
        "contents": ["QUJD", "not base64!"],
        "color": ["#0072b2", "red"],
        "kind": ["job", "job", "hamiltonian_job"],
        "DELETE uuid": [mallory.cancelled, mallory.portal_jobs[0], *victim.portal_jobs],
        "uuid": [*mallory.portal_jobs, *victim.portal_jobs],
        "resource_name": ["Aer", "H1-1"],
        "circuit": [mallory.portal_circuit, str([mallory.portal_circuit]), "['x'", "[[[["],
        "interaction_str": ["0 1;", "0 1; 1;", "x"],
        "coefficients_str": ["0.5;", "1e3 2;", "nan"],
        "properties": [{"a": 1}, {"b": True, "c": "text", "d": 1.5}],
    }
    roles = mallory.roles()
    attack = Attack(openapi, [*mallory.ids, *victim.ids, *unknown], {**own, "role_id": roles}, SECRET.encode())
    start = time.monotonic()

    def one(number: int) -> None:
        connection = mallory.wire()
        attack.run(connection, random.Random(number), N_REQUESTS // N_THREADS)
        connection.close()

    with ThreadPoolExecutor(N_THREADS) as pool:
        list(pool.map(one, range(N_THREADS)))
    took = time.monotonic() - start
    sent = attack.codes.total()
    good = sum(n for code, n in attack.codes.items() if code < 300)
    with capsys.disabled():
        codes = ", ".join(f"{code}: {number}" for code, number in sorted(attack.codes.items()))
        print(f"\n{sent:,} requests in {took:.0f} s ({codes})")
    assert not attack.wrong, "\n".join(attack.wrong[:10])
    assert sent == N_REQUESTS
    # It would be no attack if the first parser refused everything.
    assert sent / 5 < good < sent * 4 / 5
    every = {(method, path) for method, path, _ in operations(openapi)}
    assert {one for one in every - ALWAYS_REFUSED if not attack.succeeded[one]} == set()
    assert attacked.pid == pid
    assert victim.everything() == before
