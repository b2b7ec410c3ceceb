"""The fault table of a provider that takes a job in steps: an id first, then items, and the last ones let it run.

The rows are those that every adapter has, with the submission's faults at the last step, and some about the steps.
Nothing can be looked up by a key, and yet no reply that is lost is left to a person.
"""

from __future__ import annotations

from dataclasses import replace

import driving
import provider_rows
import table
from driving import N_ITEMS, Seen
from provider_rows import Row, coded, fault, killed

from qjobs.ledger import Ledger
from qjobs.testing.faults import Action, Route
from qjobs.testing.servers import ScriptedProvider
from qjobs.testing.stepped import SteppedRestBackend


def _at_last_step(row: Row) -> Row:
    faults = []
    for each in row.faults:
        faults.append(replace(each, route=Route.FINALISE) if each.route is Route.SUBMIT else each)
    return replace(row, faults=tuple(faults), runs=0, name=row.name.replace("submit:", "last step:"))


def _of_step(route: Route, name: str) -> tuple[Row, ...]:
    return (
        Row(name=f"{name}: done, reply dropped", faults=(fault(route, Action.DROP_AFTER),)),
        Row(name=f"{name}: done, 401", faults=(fault(route, Action.CODE_AFTER, code=401),)),
        Row(name=f"{name}: done, JSON cut", faults=(fault(route, Action.CUT),)),
        Row(name=f"{name}: done, arrives 20 s later", faults=(fault(route, Action.DONE_LATE, seconds=20),)),
        Row(name=f"{name}: dropped before", faults=(fault(route, Action.DROP_BEFORE),)),
        Row(name=f"{name}: 503 x2", faults=(coded(route, 503, 2),)),
        Row(name=f"{name}: 429 of its own", faults=(coded(route, 429, proved=True),)),
    )


ROWS = (
    *(_at_last_step(row) for row in provider_rows.ROWS if Route.FIND not in {each.route for each in row.faults}),
    *_of_step(Route.INIT, "first step"),
    *_of_step(Route.ADD, "second step"),
    killed("reserving"),
    killed("reserved"),
    killed("between steps"),
    Row(
        name="second step dropped, id not known x2",
        faults=(fault(Route.ADD, Action.DROP_AFTER), coded(Route.JOB, 502, 6)),
    ),
)


class _Steps(table.Scripted):
    @property
    def ids(self) -> list[str]:
        """The jobs whose last step came."""
        self.store.run_due()
        return [job.id for job in self.store.jobs.values() if len(job.outcomes) == N_ITEMS]


class _SteppedRun(driving.Run):
    adapter = "stepped"

    @property
    def decides(self) -> bool:
        return False

    @property
    def settings(self) -> dict[str, object]:
        return {**super().settings, "items_per_step": 2}

    def backend(self, timeout_s: float) -> SteppedRestBackend:
        return SteppedRestBackend(
            self.provider.url,
            name=self.name,
            timeout_s=timeout_s,
            items_per_step=2,
            poll_interval_s=(1.0, 10.0),
            confirm=self.confirm,
            limiter=self.limiter,
            sleep=self.clock.sleep,
        )


def play(row: Row, provider: ScriptedProvider, ledger: Ledger, **options: object) -> Seen:
    """Run one row."""
    return table.play(row, provider, ledger, make=_SteppedRun, scripted=_Steps, **options)
