"""Values that the layers exchange: frozen, without I/O, without a clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType, TypeAlias

from qjobs.lifecycle import JobStatus

__all__ = [
    "Attempt",
    "AttemptNumber",
    "Batch",
    "Capability",
    "Confirmation",
    "Event",
    "ExecuteOptions",
    "Fingerprint",
    "Item",
    "ItemResult",
    "ItemSnapshot",
    "ItemSpec",
    "Job",
    "JobId",
    "JobKind",
    "JobSpec",
    "JsonValue",
    "Key",
    "Limits",
    "Lookup",
    "Observable",
    "PaceSlice",
    "Price",
    "Program",
    "ProgramFormat",
    "ProgramHash",
    "RemoteId",
    "RemoteRetryStrategy",
    "Snapshot",
    "Target",
]

JobId = NewType("JobId", str)
"""Ours: names a job in the ledger."""
RemoteId = NewType("RemoteId", str)
"""Theirs: names the job at the provider (Nexus: the third-party handle)."""
Key = NewType("Key", str)
"""Our idempotency key: hash of the logical run, the batch number and the batch's content."""
ProgramHash = NewType("ProgramHash", str)
"""Content hash of a circuit, 64 hexadecimal digits."""
AttemptNumber = NewType("AttemptNumber", int)
"""1 for the first submission of a job, then 2, ..."""

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


class JobKind(StrEnum):
    """What a job asks the provider to do."""

    COMPILE = "compile"
    EXECUTE = "execute"
    HAMILTONIAN = "hamiltonian"


class ProgramFormat(StrEnum):
    """Source forms of a circuit."""

    OPENQASM2 = "openqasm2"
    OPENQASM3 = "openqasm3"
    QPY = "qpy"
    PYTKET = "pytket"


class RemoteRetryStrategy(StrEnum):
    """How a stage that runs again treats what already exists at the provider.

    Names and meaning: Nexus client API, `qnexus.client.jobs.RemoteRetryStrategy`.
    """

    DEFAULT = "DEFAULT"
    """Only re-sync status and collect results; duplicate results are not saved."""
    ALLOW_RESUBMIT = "ALLOW_RESUBMIT"
    """Submit again if there is no record of a remote id."""
    FORCE_RESUBMIT = "FORCE_RESUBMIT"
    """Submit again if there is a remote id but no result."""
    FULL_RESTART = "FULL_RESTART"
    """Act as though the job were entirely fresh and do every action again, compiling included."""


class OnRecalibration(StrEnum):
    """What is done about a job whose device was recalibrated after its circuits were compiled, before it is sent."""

    WARN = "warn"
    """It is sent, and its history and the report tell of it."""
    RECOMPILE = "recompile"
    """Its circuits are compiled anew, and these are sent."""
    FAIL = "fail"
    """Nothing of it is sent, and the run fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One circuit, addressed by its content.

    `payload` is text (UTF-8) or bytes, as `format` says. `parameters` are the free symbols in
    sorted order; `n_bits` is the number of classical bits, i.e. the width of a counts key;
    `measured` says whether any bit is written by a measurement.
    """

    hash: ProgramHash
    format: ProgramFormat
    payload: bytes
    n_qubits: int
    n_bits: int
    measured: bool
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observable:
    """A real combination of Pauli strings.

    Each term is `(pauli, coefficient)`; the Pauli string is as wide as the circuit and its
    rightmost letter acts on qubit 0, as in qiskit's `SparsePauliOp`.
    """

    name: str
    terms: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteOptions:
    """What holds for every item of a job.

    `seed` makes a simulator repeatable and is ignored by devices. With `observables` the backend
    returns their exact expectation values instead of counts (simulators only). `level` is how hard
    the provider's compiler tries, for compile jobs only. Jobs of the same `batch_id`, a UUID, are one batch
    where there are batches (`Capability.BATCHES`).
    """

    seed: int | None = None
    observables: tuple[Observable, ...] = ()
    level: int | None = None
    batch_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemSpec:
    """One circuit with its shots: what is wanted, before it has a status.

    `program` is what is sent to the backend, `source` what the user gave (the same when nothing
    was compiled). `parameters` binds every free symbol of the program, in radians. An item of a compile
    job has no shots (0) and no parameters.
    """

    label: str
    program: ProgramHash
    shots: int
    parameters: tuple[tuple[str, float], ...] = ()
    source: ProgramHash | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Items that are packed into one job, with the programs they name.

    `number` counts the batches of a logical run from 0. Results come back in the order of `items`.
    `name` is the job's, for people who look at the provider's own pages.
    """

    number: int
    items: tuple[ItemSpec, ...]
    programs: Mapping[ProgramHash, Program] = field(repr=False)
    options: ExecuteOptions = field(default_factory=ExecuteOptions)
    kind: JobKind = JobKind.EXECUTE
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job that is wanted: everything the ledger stores when it is created.

    `experiment` names what the job belongs to (a sweep's name). `run` is who made it, for example a flow run's id;
    `logical_run` is the wish of a user that it serves, however often it is entered. `opened_as` is the name that opens
    its backend again (`aer`, `nexus/H1-1E`, a block), and `fingerprint` is that backend's. `definition` is the hash of
    what gives its results their meaning, empty where nobody will look for them by it. `compiled_with` says how its
    programs were compiled, as JSON (`qjobs.compiling.compiler.CompileOptions`), empty where they were not.
    """

    key: Key
    backend: str
    device: str
    name: str
    batch: Batch
    kind: JobKind = JobKind.EXECUTE
    experiment: str = ""
    run: str = ""
    logical_run: str = ""
    project: str = ""
    owner: str = ""
    opened_as: str = ""
    fingerprint: str = ""
    definition: str = ""
    compiled_with: str = ""
    cost_estimate: float | None = None
    properties: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the ledger has it.

    `next_poll_at` is when it is to be asked for, `trouble` why it could not be asked for the last time.
    The other fields are as in `JobSpec`; a job that was planned without `opened_as` has the name of its backend
    there. `fingerprint` is empty for a job that an older version planned.
    """

    job_id: JobId
    key: Key
    kind: JobKind
    backend: str
    device: str
    name: str
    experiment: str
    run: str
    logical_run: str
    project: str
    owner: str
    status: JobStatus
    message: str
    epoch: int
    n_items: int
    options: ExecuteOptions
    opened_as: str
    fingerprint: str
    definition: str
    compiled_with: str
    properties: Mapping[str, JsonValue]
    cost_estimate: float | None
    cost: float | None
    cancel_requested_at: datetime | None
    next_poll_at: datetime | None
    trouble: str | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One submission of a job.

    `reserved` is what it was to cost when it was claimed, in `cost_unit`; None where nobody could tell, and 0 once it
    is known that no remote job came of it. `cost` is what the provider told. `held` is the one that counts now.

    `claimed_at` is when the intent was written, `sent_at` when the request was about to leave after which something
    can run or be billed; it is empty when it is proved that no such request left. `items` are the indices that were
    sent, or None for all. A `remote_id` without `accepted_at` is reserved: the provider gave an id, and nothing of it
    runs yet. `by_item` says that a report has told its items apart.

    A report that has still to be confirmed moves nothing: `awaited` is the final status, or LOST, that the provider
    reports, `awaited_since` when it did so first, `awaited_at` when it did so last and `awaited_times` how often.

    `compiled_on`, `submitted_on` and `results_on` are the fingerprints of the device (`DeviceSnapshot`) when its
    circuits were compiled, when it was sent and when results of it were fetched last; None where nobody looked.
    """

    job_id: JobId
    number: AttemptNumber
    epoch: int
    strategy: RemoteRetryStrategy
    items: tuple[int, ...] | None
    status: JobStatus
    remote_id: RemoteId | None
    remote_status: str | None
    message: str
    cost: float | None
    lease_owner: str | None
    lease_until: datetime | None
    claimed_at: datetime
    sent_at: datetime | None
    accepted_at: datetime | None
    finished_at: datetime | None
    by_item: bool
    awaited: JobStatus | None
    awaited_since: datetime | None
    awaited_at: datetime | None
    awaited_times: int
    reserved: float | None = None
    cost_unit: str = ""
    compiled_on: str | None = None
    submitted_on: str | None = None
    results_on: str | None = None

    @property
    def held(self) -> float | None:
        """What it takes of its caps: the larger of estimate and cost, and once it is final its cost where it was told.

        None where nobody can tell.
        """
        if self.status.is_final and self.cost is not None:
            return self.cost
        if self.cost is None or self.reserved is None:
            return self.reserved if self.cost is None else self.cost
        return max(self.cost, self.reserved)

    @property
    def is_reserved(self) -> bool:
        """Whether the provider gave it an id and nothing of it can run or be billed yet."""
        return self.remote_id is not None and self.sent_at is None and not self.status.is_final


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One circuit of a job, with what is known of it.

    `no_result` says why its result will never come, if the provider has said so.
    """

    job_id: JobId
    index: int
    label: str
    program: ProgramHash
    source: ProgramHash | None
    parameters: tuple[tuple[str, float], ...]
    shots: int
    status: JobStatus
    queue_position: int | None
    message: str
    error_detail: str | None
    cost: float | None
    cancel_requested_at: datetime | None
    no_result: str | None
    times: Mapping[JobStatus, datetime]

    @property
    def submitted_at(self) -> datetime | None:
        """When its provider had it."""
        return self.times.get(JobStatus.SUBMITTED)

    @property
    def completed_at(self) -> datetime | None:
        """When its result was ready."""
        return self.times.get(JobStatus.COMPLETED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """What an item returned.

    `counts` maps bit strings to numbers of shots, bit 0 rightmost, classical registers joined
    without a space. `expvals` maps the name of an observable to its exact expectation value, when
    the job asked for observables instead of counts; `program` is what a compile job made.
    `duration_s` is the provider's own execution time, if it tells.
    """

    counts: Mapping[str, int] | None = None
    expvals: Mapping[str, float] | None = None
    program: Program | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a job's history; `index` is None for the job itself. Ids grow with time."""

    event_id: int
    job_id: JobId
    index: int | None
    at: datetime
    old: JobStatus | None
    new: JobStatus
    cause: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemSnapshot:
    """One item of a remote job, as the provider reports it now."""

    status: JobStatus
    message: str = ""
    error_detail: str | None = None
    queue_position: int | None = None
    cost: float | None = None
    times: Mapping[JobStatus, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A remote job, as the provider reports it now.

    `remote_status` is the provider's own word. `items` has one entry per submitted item, in
    order, or is None where the provider does not tell items apart.
    """

    status: JobStatus
    remote_status: str
    message: str = ""
    items: tuple[ItemSnapshot, ...] | None = None
    queue_position: int | None = None
    cost: float | None = None

    @property
    def total_cost(self) -> float | None:
        """What the whole costs: the provider's own sum, or that of its items; None where it tells neither."""
        if self.cost is not None:
            return self.cost
        costs = [item.cost for item in self.items or () if item.cost is not None]
        return sum(costs) if costs else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a submission will cost, in the provider's unit; `amount` None where nobody can tell."""

    amount: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a compiler needs to know of a device, and how it is calibrated.

    `basis_gates` are qiskit gate names, None for "any"; `coupling` holds directed pairs of qubits,
    None for all to all. `calibration` is what the provider shows of its gates and qubits besides, such as error rates,
    durations, T1 and T2, in its own words and units, empty where it shows none; it takes JSON, and tuples and sets as
    Python literals have them. `calibrated` is the date or the id of the calibration, if the provider tells one.
    """

    name: str
    n_qubits: int | None = None
    basis_gates: tuple[str, ...] | None = None
    coupling: tuple[tuple[int, int], ...] | None = None
    calibration: Mapping[str, object] = field(default_factory=dict, hash=False)
    calibrated: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSnapshot:
    """A device as its provider showed it at a time.

    `fingerprint` is a short hash of `facts` (`qjobs.operations.calibration`), the same in every process and on every
    machine. `calibrated` is the date or the id of the calibration, if the provider tells one.
    """

    fingerprint: str
    device: str
    calibrated: str | None
    facts: Mapping[str, JsonValue]

    @property
    def shows_calibration(self) -> bool:
        """Whether the provider shows more than qubits, gates and couplings."""
        return bool(self.calibrated or self.facts.get("calibration"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one job may hold; None means no limit.

    `max_items` circuits a job, `max_shots` shots an item, `max_bytes` bytes of program text and
    parameters a job, `max_live_jobs` jobs at the provider at a time per device, and `max_account_jobs` of the account
    on all of its devices together. Both are counted in the ledger, over all processes, and jobs that others have there
    count where the provider shows them. `results_kept_s` is how long the provider keeps a result after its item has
    completed, in seconds: None for as long as anybody may ask, 0 for a device that gives no results at all (a syntax
    checker). `one_n_shots` says that a job has one number of shots for all of its items, so that items of other numbers
    go into other jobs.
    """

    max_items: int | None = None
    max_shots: int | None = None
    max_bytes: int | None = None
    max_live_jobs: int | None = None
    max_account_jobs: int | None = None
    results_kept_s: float | None = None
    one_n_shots: bool = False

    @property
    def gives_results(self) -> bool:
        """Whether items of this device have results; those of a syntax checker have none, and are done without."""
        return self.results_kept_s != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceSlice:
    """What one process gets of an account's pace, and what is known of the account in all of them.

    `turns` requests may be sent, spread over `turns / per_s` seconds that begin `start_in_s` seconds from now; a
    negative `start_in_s` means that so much of the time is over, so that what belongs to it is sent at once. `per_s`
    are the requests a second of all processes together, None for no limit. `closed_for_s` is what is left of the pause
    that the provider asked one of them for, in seconds.
    """

    turns: int = 0
    start_in_s: float = 0.0
    per_s: float | None = None
    closed_for_s: float = 0.0


class Capability(StrEnum):
    """What an adapter can do beyond running circuits for counts."""

    COMPILE = "compile"
    """It takes batches of the kind `JobKind.COMPILE`, whose results are programs."""
    EXACT_EXPVALS = "exact expectation values"
    """Its items give the exact values of `ExecuteOptions.observables` instead of counts."""
    CANCEL_ITEMS = "cancel items"
    """`cancel` takes chosen items of a job."""
    BATCHES = "batches"
    """Jobs with the same `ExecuteOptions.batch_id` run one after the other, with no job of others between them."""
    DURABLE = "durable"
    """Its jobs go on when this process ends, so that nobody has to stay and wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """How a submission whose reply was lost can be looked up. With nothing of it the provider is opaque.

    `chosen_id`: the remote id follows from our key, and a second job of the same id is refused. `token_lifetime_s`: a
    second submission with the same key returns the first job, for so many seconds after the first one. `by_key`:
    `Backend.find` finds a job by its key.
    """

    chosen_id: bool = False
    token_lifetime_s: float | None = None
    by_key: bool = False

    @property
    def can_find(self) -> bool:
        """Whether `Backend.find` tells if a job of a key exists."""
        return self.chosen_id or self.by_key

    @property
    def is_opaque(self) -> bool:
        """Whether a person or a stated policy has to decide about a lost reply."""
        return not self.can_find and self.token_lifetime_s is None

    def deduplicates(self, age_s: float) -> bool:
        """Whether a second submission of a key makes no second job, `age_s` seconds after the first one."""
        return self.chosen_id or (self.token_lifetime_s is not None and age_s < self.token_lifetime_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """When what a provider reports is believed, because providers take back some of what they say.

    A status in `revocable` counts as final once it was reported `times` times more, each `apart_s` seconds or more
    after the one before. A submission that cannot be found counts as not there after `absent_times` such answers in
    all, each `absent_apart_s` seconds or more after the one before; a job that the provider had, and does not know any
    more, counts as LOST after as many, each `lost_apart_s` seconds or more apart.
    """

    revocable: frozenset[JobStatus] = frozenset()
    times: int = 1
    apart_s: float = 30.0
    absent_times: int = 3
    absent_apart_s: float = 20.0
    lost_apart_s: float = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What gives the answers of a backend their meaning.

    `place` is the server and the account that jobs live at: an answer from another place is never about our job.
    `settings` is all that changes the meaning of a result there: device, configuration, noise. Both are words for
    people, without secrets.
    """

    place: str
    settings: str = ""

    def __str__(self) -> str:
        return f"{self.place} | {self.settings}"

    @classmethod
    def of(cls, text: str) -> Fingerprint:
        """The inverse of `str`."""
        place, _, settings = text.partition(" | ")
        return cls(place=place, settings=settings)
