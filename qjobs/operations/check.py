"""What an experiment would run on its backends: everything is checked, nothing is stored and nothing is sent.

The ledger is read for what would be reused and how long jobs of a device usually take, and a provider for what a
compiler must know and for its live jobs, where it shows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qjobs.backends.base import Backend, Priced, Pricing
from qjobs.compiling.compiler import CompileCache, Compiler
from qjobs.experiments.sweep import SweepPlan
from qjobs.ledger import Ledger
from qjobs.model import Batch, ExecuteOptions, ItemSpec, Program, ProgramHash, RemoteRetryStrategy
from qjobs.operations.batching import pack, size_bytes_of
from qjobs.operations.canary import canary_labels, unsent
from qjobs.operations.compile_many import compile_many
from qjobs.operations.plan import ExperimentPlan, find_existing
from qjobs.operations.room import room
from qjobs.operations.usual_wait import UsualWait, usual_wait

__all__ = ["APPROVED", "Checked", "DeviceOutlook", "DevicePlan", "check", "outlook", "pricing_of"]

_NOT_TOLD = Pricing(unit="", words="not known: the provider publishes no prices")
APPROVED = "approved"
"""Cause of the event that a person has approved a job (`qjobs.operations.approval`)."""
_NO_RUN = "no run"
"""A logical run that nobody has, and so no job is of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOutlook:
    """What a device can be expected to do with a job that is sent now.

    `free` is how many more jobs it takes now, None for any number. `wait` is how long its jobs usually took from being
    planned to their end, None where the ledger has fewer than five finished ones.
    """

    free: int | None
    wait: UsualWait | None
    pricing: Pricing


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlan:
    """What an experiment would run on one backend.

    Of its `circuits`, `reused` are there from earlier runs or under way. The others make so many `jobs`, `shots` in
    all, and `size_bytes` of circuits and parameters. `cost` is the estimate for these, in the unit of
    `outlook.pricing`; None where nobody can tell.
    """

    name: str
    device: str
    circuits: int
    reused: int
    jobs: int
    shots: int
    size_bytes: int
    cost: float | None
    outlook: DeviceOutlook


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What an experiment would run, backend by backend.

    `rows` are those of the results: points times repetitions times backends, or circuits.
    """

    devices: tuple[DevicePlan, ...]
    rows: int
    qubits: int
    templates: int

    @property
    def circuits(self) -> int:
        """All circuits, those that would be reused included."""
        return sum(each.circuits for each in self.devices)

    @property
    def jobs(self) -> int:
        """The jobs that would be sent."""
        return sum(each.jobs for each in self.devices)

    @property
    def shots(self) -> int:
        """The shots of the jobs that would be sent."""
        return sum(each.shots for each in self.devices)

    @property
    def cost(self) -> float | None:
        """The cost on all backends; None where one of them does not tell, or they count in different units."""
        costs = [each.cost for each in self.devices]
        known = [cost for cost in costs if cost is not None]
        units = {each.outlook.pricing.unit for each in self.devices if each.cost}
        return sum(known) if len(known) == len(costs) and len(units) <= 1 else None


def check(
    experiment: ExperimentPlan,
    backends: Mapping[str, Backend],
    cache: CompileCache,
    ledger: Ledger,
    *,
    logical_run: str = "",
    with_approved: bool = True,
) -> Checked:
    """Compile an experiment for its backends, look up what is there, cut the rest into jobs, and ask what they cost.

    `logical_run` is the run that would be gone on with, where there is one. Jobs that are planned and not sent yet
    count as those that would be sent, but not those that a person has approved, without `with_approved`.

    Raises:
        InvalidInput: It cannot be run on one of them.
    """
    devices = []
    for name, backend in backends.items():
        reused = _reused(experiment, backend, ledger, logical_run or _NO_RUN, with_approved=with_approved)
        devices.append(_on_device(experiment, name, backend, cache, reused, outlook(ledger, backend)))
    programs = experiment.programs
    return Checked(
        devices=tuple(devices),
        rows=_n_rows(experiment, len(backends)),
        qubits=max(each.n_qubits for each in programs.values()),
        templates=len(programs),
    )


def outlook(ledger: Ledger, backend: Backend) -> DeviceOutlook:
    """What the device of a backend can be expected to do with a job that is sent now."""
    left = room(ledger, backend)
    known = [places for places in (left.on_device, left.of_account) if places is not None]
    return DeviceOutlook(
        free=min(known, default=None),
        wait=usual_wait(ledger, backend.name, backend.device),
        pricing=pricing_of(backend),
    )


def pricing_of(backend: Backend) -> Pricing:
    """How the device of a backend is paid for, also where it does not tell."""
    return backend.pricing if isinstance(backend, Priced) else _NOT_TOLD


def _on_device(
    experiment: ExperimentPlan,
    name: str,
    backend: Backend,
    cache: CompileCache,
    reused: set[str],
    seen: DeviceOutlook,
) -> DevicePlan:
    programs = dict(experiment.programs)
    how = experiment.compile_options
    if how.compiler is not Compiler.REMOTE:
        programs.update(compile_many(list(programs.values()), backend.target(), how, cache, on=experiment.compile_on))
    items = experiment.items(programs)
    by_hash = {each.hash: each for each in programs.values()}
    pack(items, by_hash, backend.limits)  # what could not be run is refused, also where a result of it is there
    missing = [item for item in items if item.label not in reused]
    first = set(canary_labels(experiment))
    batches = []
    for some in (
        [item for item in missing if item.label in first],
        [item for item in missing if item.label not in first],
    ):
        batches += pack(some, by_hash, backend.limits) if some else []
    costs = _costs(experiment, backend, batches, by_hash)
    known = [cost for cost in costs if cost is not None]
    return DevicePlan(
        name=name,
        device=backend.device,
        circuits=len(items),
        reused=len(items) - len(missing),
        jobs=len(batches),
        shots=sum(item.shots for item in missing),
        size_bytes=sum(size_bytes_of(item, by_hash[item.program]) for item in missing),
        cost=sum(known) if len(known) == len(costs) else None,
        outlook=seen,
    )


def _reused(
    experiment: ExperimentPlan, backend: Backend, ledger: Ledger, logical_run: str, *, with_approved: bool
) -> set[str]:
    """The labels of the circuits that need not be sent, as the ledger has them now and as the strategy has it."""
    strategy = experiment.spec.retries.strategy
    if strategy is RemoteRetryStrategy.FULL_RESTART:
        return set()
    existing = find_existing(ledger, backend, experiment, run=logical_run, refresh=False)
    job_ids = list(dict.fromkeys(existing.jobs.values()))
    to_send = set(unsent(ledger, job_ids))
    if not with_approved:
        to_send -= ledger.jobs_with_event(list(to_send), APPROVED)
    sends_again = strategy is RemoteRetryStrategy.FORCE_RESUBMIT
    has_result = ledger.labels(job_ids) if sends_again else {}
    found = set()
    for label, job_id in existing.jobs.items():
        if job_id not in to_send and (not sends_again or has_result[job_id][label]):
            found.add(label)
    return found


def _n_rows(experiment: ExperimentPlan, n_backends: int) -> int:
    if isinstance(experiment, SweepPlan):
        return len(experiment.points) * experiment.spec.repetitions * n_backends
    return len(experiment.sources)


def _costs(
    experiment: ExperimentPlan,
    backend: Backend,
    batches: Sequence[tuple[ItemSpec, ...]],
    programs: Mapping[ProgramHash, Program],
) -> list[float | None]:
    """What each batch would cost."""
    options = ExecuteOptions(seed=experiment.spec.seed)
    if isinstance(experiment, SweepPlan) and experiment.spec.exact:
        options = ExecuteOptions(seed=experiment.spec.seed, observables=experiment.observables)
    costs = []
    for number, items in enumerate(batches):
        used = {item.program: programs[item.program] for item in items}
        costs.append(backend.estimate(Batch(number=number, items=items, programs=used, options=options)))
    return costs
