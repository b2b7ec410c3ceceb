"""Thousands of made-up requests."""

from __future__ import annotations

import random
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from attack_people import SECRET, Person
from attack_values import values_of
from fuzzing import Attack, operations

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
    ("POST", "/auth/tokens/revoke"),  # it is not asked
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
    own = values_of(mallory, victim)
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
