"""Prices of Quantinuum's machines, devices that fail, and quotas."""

from __future__ import annotations

from collections import Counter

import pytest
from executor_circuits import entangled, native
from own_service import AER, OwnService, quantinuum
from pytket.circuit import Circuit, OpType

from qjobs.service import tables as schema
from qjobs.service.execution.cost import cost_hqc, gate_counts
from qjobs.service.store.job_records import status_body


def test_price_is_the_published_one() -> None:
    """HQC follow the published formula."""
    # Two PhasedX (Rz is free), two two-qubit gates, two preparations and two measurements:
    # 5 + 1000 (2 + 10 * 2 + 5 * 4) / 5000 = 13.4
    assert cost_hqc(gate_counts(native()), 1000) == pytest.approx(13.4)
    # With a reset and a conditional gate: 5 + 1000 (3 + 20 + 25) / 5000
    circuit = native().Reset(0)
    circuit.add_gate(OpType.PhasedX, [0.1, 0.2], [0], condition_bits=[0], condition_value=1)
    assert cost_hqc(gate_counts(circuit), 1000) == pytest.approx(14.6)
    assert cost_hqc(gate_counts(Circuit(3)), 500) == pytest.approx(5 + 500 * 15 / 5000)


def test_machine_runs_native_gates(own: OwnService) -> None:
    """A machine runs native gates only, and its price is on items and job."""
    job = own.submit([native(), entangled().measure_all()], quantinuum("H1-1E"), shots=1000)
    record = own.finish(job)
    right, wrong = own.items(job)
    assert right.cost == pytest.approx(13.4)
    assert record.cost == pytest.approx(13.4)
    assert len(own.result(right).get_shots()) == 1000
    assert wrong.status == "ERROR"
    assert wrong.message.startswith("H1-1E cannot run CCX, CX, CZ, H, Rx and 3 more: its native gates are PhasedX")
    handles = {right.external_handle, wrong.external_handle}
    assert len(handles) == 2
    assert all(handle and len(handle) == 36 for handle in handles)


def test_max_cost_depletes(own: OwnService) -> None:
    """An item above its max_cost is DEPLETED and not run."""
    cheap = own.upload(native())
    dear = own.upload(native())
    items = [
        {"program_id": cheap, "n_shots": 1000, "max_cost": 13.4},
        {"program_id": dear, "n_shots": 1000, "max_cost": 13},
    ]
    job = own.store.create(
        own.user,
        own.project,
        name="dear",
        job_type="execute",
        definition={"backend_config": quantinuum("H1-1LE"), "items": items},
    )
    record = own.finish(job)
    ran, stopped = own.items(job)
    assert ran.status == "COMPLETED"
    assert (stopped.status, stopped.result_id) == ("DEPLETED", None)
    assert stopped.message.startswith("the item costs 13.4 HQC, and its max_cost is 13; it was not run")
    assert record.status == "DEPLETED"


def test_cap_of_the_configuration(own: OwnService) -> None:
    """The max_cost of a configuration caps each of its items, beside their own."""
    for given, status in ((14, "COMPLETED"), (13, "DEPLETED")):
        (item,) = own.run([native()], quantinuum("H1-1LE", max_cost=given), shots=1000, item={"max_cost": 20.0})
        assert (item.status, item.max_cost) == (status, 20.0)


def test_checker_runs_nothing(own: OwnService) -> None:
    """A syntax checker names the price, whatever it may cost, and runs nothing."""
    circuits = [native(), entangled().measure_all()]
    item, wrong = own.run(circuits, quantinuum("H1-1SC", max_cost=1), shots=1000, item={"max_cost": 0.5})
    assert (item.status, item.result_type, item.result_id) == ("COMPLETED", None, None)
    assert status_body(item)["cost"] == pytest.approx(13.4)
    assert status_body(item)["cost_confidence"] == 1.0
    assert "cannot run" in wrong.message
    assert "cost_confidence" not in status_body(wrong)
    assert own.rows(schema.result, item_uuid=item.item_uuid) == []
    job = own.submit([native()] * 2, quantinuum("H2-1SC"), shots=1000)
    assert status_body(own.finish(job))["cost"] == pytest.approx(26.8)


def test_every_checker_has_prices(tmp_path) -> None:
    """A syntax checker of a device file names prices, though the file says nothing of costs."""
    entry = "{name: XSC, kind: syntax-checker, backend: B, config: XConfig, n_qubits: 5}"
    own = OwnService(tmp_path, devices=f"devices: [{entry}]")
    try:
        own.service.executor.start()
        (item,) = own.run([native()], {"type": "XConfig"}, shots=1000)
        assert status_body(item)["cost"] == pytest.approx(13.4)
    finally:
        own.close()


def test_failure_rate_holds(own: OwnService) -> None:
    """A device fails as often as its file says."""
    items = own.run([Circuit(1, 1).X(0).measure_all()] * 60, {"type": "FlakyConfig"}, shots=5)
    failed = [item for item in items if item.status == "ERROR"]
    assert 15 < len(failed) < 45
    assert {item.message for item in failed} == {"The device failed (failure_rate in the device file)."}
    assert all((item.result_id is None) == (item.status == "ERROR") for item in items)
    assert all(item.external_handle for item in items)


def test_seconds_count_to_a_quota(own: OwnService) -> None:
    """Seconds are counted towards the right quota."""
    user = own.add_user("careful")
    project = own.add_project(user)
    program = own.upload(entangled().measure_all(), project=project)

    def used() -> dict[str, float]:
        found: Counter = Counter()
        for row in own.rows(schema.usage, user_id=user.user_id):
            found[row.quota] += row.amount
        return dict(found)

    own.finish(own.submit([program] * 3, AER, user=user, project=project))
    assert set(used()) == {"simulation"}
    assert 0 < used()["simulation"] < 60
    before = used()["simulation"]
    own.finish(own.submit([program], AER, job_type="compile", user=user, project=project))
    assert set(used()) == {"simulation", "compilation"}
    assert used()["simulation"] == before


def test_used_up_quota_depletes(own: OwnService) -> None:
    """A quota that is used up depletes a job."""
    user = own.add_user("spender")
    project = own.add_project(user)
    program = own.upload(entangled().measure_all(), project=project)
    with own.service.db.write() as connection:
        row = {"user_id": user.user_id, "quota": "simulation", "amount": 1e9, "at": own.service.clock.now()}
        connection.execute(schema.usage.insert().values(row))
    job = own.submit([program] * 2, AER, user=user, project=project)
    assert own.finish(job).status == "DEPLETED"
    assert {item.message for item in own.items(job)} == {
        "The quota of simulation is used up for this month; the item was not run."
    }
    compile_job = own.submit([program], AER, job_type="compile", user=user, project=project)
    assert own.finish(compile_job).status == "COMPLETED"
