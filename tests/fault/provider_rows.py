"""The rows of the fault table that every adapter has: what goes wrong, and what may become of it.

A number such as #34 is that of an audit's finding: the row broke before it was mended.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from qjobs.testing.faults import Action, Fault, Route

LATE_S = 1.5
SUBMIT = Route.SUBMIT
FIND = Route.FIND
STATUS = Route.STATUS
RESULTS = Route.RESULTS


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault. `lost` names what became of a submission without an answer: "made", "never" or "late".

    `there` is what a person does at the provider's own page, so many seconds after the run began: "delete" the job, or
    press "retry". `gone` says that no result will ever come; it is a word that the run's message must have.
    """

    name: str
    faults: tuple[Fault, ...] = ()
    lost: str = ""
    recorded: str = ""
    broken: dict[int, str] = field(default_factory=dict)
    peers: str = ""
    there: tuple[tuple[float, str], ...] = ()
    gone: str = ""


def fault(route: Route, action: Action, times: int = 1, **more: object) -> Fault:
    return Fault(route=route, action=action, times=times, **more)  # type: ignore[arg-type]


def coded(route: Route, code: int, times: int = 1, retry_after: str = "") -> Fault:
    return fault(route, Action.CODE_BEFORE, times, code=code, retry_after=retry_after)


_GONE = fault(SUBMIT, Action.DROP_AFTER)
ROWS = (
    Row(name="none"),
    Row(name="submit: made, reply dropped", faults=(_GONE,), lost="made", peers="3 or lost (Divi)"),
    Row(name="submit: made, 502", faults=(fault(SUBMIT, Action.CODE_AFTER, code=502),), lost="made"),
    Row(name="submit: made, 401 (#34)", faults=(fault(SUBMIT, Action.CODE_AFTER, code=401),), lost="made"),
    Row(name="submit: made, 429 (#34)", faults=(fault(SUBMIT, Action.CODE_AFTER, code=429),), lost="made"),
    Row(name="submit: made, answered too late", faults=(fault(SUBMIT, Action.LATE, seconds=LATE_S),), lost="made"),
    Row(name="submit: made, JSON cut", faults=(fault(SUBMIT, Action.CUT),), lost="made"),
    Row(name="submit: made, not JSON", faults=(fault(SUBMIT, Action.NOT_JSON),), lost="made"),
    Row(name="submit: dropped, arrives 20 s later", faults=(fault(SUBMIT, Action.DONE_LATE, seconds=20),), lost="late"),
    Row(name="submit: dropped before", faults=(fault(SUBMIT, Action.DROP_BEFORE),), lost="never"),
    Row(name="submit: 503 before", faults=(coded(SUBMIT, 503),), lost="never"),
    Row(name="submit: 429", faults=(coded(SUBMIT, 429),)),
    Row(name="submit: 429, Retry-After 30", faults=(coded(SUBMIT, 429, 2, "30"),)),
    Row(name="submit: 401 for a while", faults=(coded(SUBMIT, 401, 2),)),
    Row(
        name="reply dropped, find 502 x2, empty (#30)",
        faults=(_GONE, coded(FIND, 502, 2), fault(FIND, Action.NOTHING, skip=2)),
        lost="made",
    ),
    Row(name="reply dropped, find 502 x4", faults=(_GONE, coded(FIND, 502, 4)), lost="made"),
    Row(name="reply dropped, find 401", faults=(_GONE, coded(FIND, 401)), lost="made"),
    Row(name="reply dropped, find not JSON x4", faults=(_GONE, fault(FIND, Action.NOT_JSON, 4)), lost="made"),
    Row(name="status: 502", faults=(coded(STATUS, 502),), peers="2"),
    Row(name="status: 502 x9", faults=(coded(STATUS, 502, 9),), recorded="BackendUnavailable", peers="2"),
    Row(name="status: 401 for a while", faults=(coded(STATUS, 401, 5),), recorded="CredentialsRejected", peers="6"),
    Row(name="status: 403 for a while", faults=(coded(STATUS, 403, 5),), recorded="CredentialsRejected"),
    Row(name="status: 429 x20", faults=(coded(STATUS, 429, 20),), recorded="BackendUnavailable"),
    Row(name="status: 429 x9, Retry-After 7", faults=(coded(STATUS, 429, 9, "7"),), recorded="BackendUnavailable"),
    Row(
        name="status: time-out x3",
        faults=(fault(STATUS, Action.LATE, 3, seconds=LATE_S),),
        recorded="BackendUnavailable",
        peers="4",
    ),
    Row(name="status: dropped x9", faults=(fault(STATUS, Action.DROP_BEFORE, 9),), recorded="BackendUnavailable"),
    Row(name="status: JSON cut x4", faults=(fault(STATUS, Action.CUT, 4),), recorded="ProtocolError"),
    Row(name="status: not JSON x4", faults=(fault(STATUS, Action.NOT_JSON, 4),), recorded="ProtocolError"),
    Row(name="status: unknown word x3", faults=(fault(STATUS, Action.UNKNOWN_WORD, 3),), recorded="ProtocolError"),
    Row(name="status: tells of nothing x9", faults=(fault(STATUS, Action.NOTHING, 9),)),
    Row(name="results: 410 for ever (#13)", faults=(coded(RESULTS, 410, 1_000_000),), gone="410"),
    Row(name="results: 500 x7", faults=(coded(RESULTS, 500, 7),), recorded="BackendUnavailable", peers="6"),
    Row(name="results: 401 x3", faults=(coded(RESULTS, 401, 3),), recorded="CredentialsRejected", peers="6"),
    Row(name="results: JSON cut x4", faults=(fault(RESULTS, Action.CUT, 4),), recorded="ProtocolError"),
    Row(name="results: dropped", faults=(fault(RESULTS, Action.DROP_AFTER),)),
    Row(name="item 1 fails", broken={1: "the laser went off"}),
    Row(name="deleted there in the queue (#15)", there=((2.0, "delete"),), gone="no longer"),
    Row(name="deleted there as it ends (#14)", there=((15.0, "delete"),), gone="no longer"),
)
