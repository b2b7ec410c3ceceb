"""The rows of the fault table that every adapter has: what goes wrong, and what may become of it.

A number such as #34 is that of an audit's finding: the row broke before it was mended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qjobs.model import RemoteRetryStrategy
from qjobs.testing.faults import Action, Fault, Route

LATE_S = 1.5
SUBMIT = Route.SUBMIT
FIND = Route.FIND
STATUS = Route.STATUS
RESULTS = Route.RESULTS
FORCE = RemoteRetryStrategy.FORCE_RESUBMIT
_ALL = frozenset(range(4))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault. `lost` names what became of a submission without an answer: "made", "never" or "late".

    `broken` items fail, `withheld` ones are done and their results never come, `stuck` ones stay open in a job that is
    final. `there` is what is done at the provider's own page, so many seconds after the run began: "delete" the job, or
    press "retry"; and `requeues` says how often it queues by itself what failed. `revocable` says that its adapter asks
    once more after an error. `again` is what a person enters here when the job has ended. `gone` says that no result
    comes of what the row names, of all items if it names none; the run's message must have one of its words. `killed`
    is the moment in which its process, or the sensor, is killed (`dying.py`). `runs` is how often the flow may be
    entered where the provider can be asked for a key; 0 for any number.
    """

    name: str
    faults: tuple[Fault, ...] = ()
    lost: str = ""
    recorded: str = ""
    broken: Mapping[int, str] = field(default_factory=dict)
    withheld: Mapping[int, str] = field(default_factory=dict)
    stuck: frozenset[int] = frozenset()
    requeues: int = 0
    revocable: bool = False
    there: tuple[tuple[float, str], ...] = ()
    again: RemoteRetryStrategy | None = None
    gone: str = ""
    killed: str = ""
    runs: int = 0
    peers: str = ""

    @property
    def heals(self) -> bool:
        """Whether what fails is done after all."""
        return bool(self.requeues) or "retry" in {what for _, what in self.there}

    @property
    def fails(self) -> bool:
        """Whether the job ends with an error."""
        return bool(self.stuck) or (bool(self.broken) and not self.heals)

    @property
    def without(self) -> frozenset[int]:
        """The items that get no result."""
        found = frozenset(self.withheld) | self.stuck | (frozenset() if self.heals else frozenset(self.broken))
        return found or (_ALL if self.gone else frozenset())


def fault(route: Route, action: Action, times: int = 1, **more: object) -> Fault:
    return Fault(route=route, action=action, times=times, **more)  # type: ignore[arg-type]


def coded(route: Route, code: int, times: int = 1, retry_after: str = "", **more: object) -> Fault:
    return fault(route, Action.CODE_BEFORE, times, code=code, retry_after=retry_after, **more)


def killed(moment: str, lost: str = "") -> Row:
    return Row(name=f"killed: {moment}", killed=moment, lost=lost)


_GONE = fault(SUBMIT, Action.DROP_AFTER)
_OFF = "the laser went off"
_FOR_EVER = 1_000_000
IN_QUEUE = (2.0, "delete")
"""Done at the provider's own page while the job waits there."""
ROWS = (
    Row(name="none"),
    Row(name="submit: made, reply dropped", faults=(_GONE,), lost="made", peers="3 or lost (Divi)"),
    Row(name="submit: made, 502", faults=(fault(SUBMIT, Action.CODE_AFTER, code=502),), lost="made"),
    Row(name="submit: made, 401 (#34)", faults=(fault(SUBMIT, Action.CODE_AFTER, code=401),), lost="made"),
    Row(name="submit: made, 403 (#34)", faults=(fault(SUBMIT, Action.CODE_AFTER, code=403),), lost="made"),
    Row(name="submit: made, 404 (#34)", faults=(fault(SUBMIT, Action.CODE_AFTER, code=404),), lost="made"),
    Row(name="submit: made, 429 (#34)", faults=(fault(SUBMIT, Action.CODE_AFTER, code=429),), lost="made"),
    Row(name="submit: made, headers echoed (#25)", faults=(fault(SUBMIT, Action.ECHO, size=9000),), lost="made"),
    Row(name="submit: made, answered too late", faults=(fault(SUBMIT, Action.LATE, seconds=LATE_S),), lost="made"),
    Row(name="submit: made, JSON cut", faults=(fault(SUBMIT, Action.CUT),), lost="made"),
    Row(name="submit: made, not JSON", faults=(fault(SUBMIT, Action.NOT_JSON),), lost="made"),
    Row(name="submit: dropped, arrives 20 s later", faults=(fault(SUBMIT, Action.DONE_LATE, seconds=20),), lost="late"),
    Row(name="submit: dropped before", faults=(fault(SUBMIT, Action.DROP_BEFORE),), lost="never"),
    Row(name="submit: 503 before", faults=(coded(SUBMIT, 503),), lost="never"),
    Row(name="submit: 429 of a gateway (#34)", faults=(coded(SUBMIT, 429),), lost="never"),
    Row(name="submit: 401 of a gateway (#34)", faults=(coded(SUBMIT, 401),), lost="never"),
    Row(name="submit: 429 of its own", faults=(coded(SUBMIT, 429, proved=True),)),
    Row(name="submit: 429 of its own, Retry-After 30", faults=(coded(SUBMIT, 429, 2, "30", proved=True),)),
    Row(name="submit: 401 of its own for a while", faults=(coded(SUBMIT, 401, 2, proved=True),)),
    Row(
        name="reply dropped, find 502 x2, empty (#30)",
        faults=(_GONE, coded(FIND, 502, 2), fault(FIND, Action.NOTHING, skip=2)),
        lost="made",
    ),
    Row(
        name="reply dropped, find empty for 70 s (#30)",
        faults=(_GONE, fault(FIND, Action.NOTHING, for_s=70.0)),
        lost="made",
    ),
    Row(
        name="never made, then made, reply dropped (#35)",
        faults=(coded(SUBMIT, 503), fault(SUBMIT, Action.DROP_AFTER, skip=1)),
        lost="made",
        runs=1,
    ),
    Row(name="reply dropped, find 502 x4", faults=(_GONE, coded(FIND, 502, 4)), lost="made"),
    Row(name="reply dropped, find 401", faults=(_GONE, coded(FIND, 401)), lost="made"),
    Row(name="reply dropped, find not JSON x4", faults=(_GONE, fault(FIND, Action.NOT_JSON, 4)), lost="made"),
    Row(name="reply dropped, find endless x4 (#19)", faults=(_GONE, fault(FIND, Action.ENDLESS, 4)), lost="made"),
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
    Row(name="status: tells of no items x9 (#12)", faults=(fault(STATUS, Action.NO_ITEMS, 9),)),
    Row(name="results: 410 for ever (#13)", faults=(coded(RESULTS, 410, _FOR_EVER, proved=True),), gone="410"),
    Row(name="results: one never comes (#13)", withheld={1: "shredded in 410 pieces"}, gone="410"),
    Row(name="results: 500 x7", faults=(coded(RESULTS, 500, 7),), recorded="BackendUnavailable", peers="6"),
    Row(name="results: 401 x3", faults=(coded(RESULTS, 401, 3),), recorded="CredentialsRejected", peers="6"),
    Row(name="results: JSON cut x4 (#35)", faults=(fault(RESULTS, Action.CUT, 4),), recorded="ProtocolError"),
    Row(name="results: dropped", faults=(fault(RESULTS, Action.DROP_AFTER),)),
    Row(name="item 1 fails", broken={1: _OFF}),
    Row(name="item 1 fails and is queued again (#3)", broken={1: _OFF}, requeues=1, revocable=True),
    Row(name="item 1 fails, Retry there, then here (#2)", broken={1: _OFF}, there=((60.0, "retry"),), again=FORCE),
    Row(name="item 2 never ends (#16)", stuck=frozenset({2}), gone="never ended"),
    Row(name="deleted there in the queue (#15)", there=(IN_QUEUE,), gone="no longer knows"),
    Row(
        name="deleted there, final here (#14)",
        faults=(coded(RESULTS, 500, for_s=60.0),),
        there=((40.0, "delete"),),
        gone="404|no longer has",
    ),
    killed("before sending"),
    killed("sending", lost="never"),
    killed("made", lost="made"),
    killed("written down"),
)
