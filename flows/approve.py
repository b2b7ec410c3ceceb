"""Decide about runs that wait for approval, from the command line: `qjobs approve`, or `python -m flows.approve`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import SetStateStatus

from flows._support.approval import KEY
from flows._support.local_server import ServerProblem, served
from qjobs.cli.approval import check_decision, person
from qjobs.cli.declaring import alone, called
from qjobs.cli.tables import print_json, print_table
from qjobs.errors import InvalidInput

__all__ = ["decide", "main", "waiting_for_approval"]

_PROG = "qjobs approve"
_MOST = 200


def waiting_for_approval(client: SyncPrefectClient) -> list[FlowRun]:
    """The runs that wait for approval, the newest first."""
    paused = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))
    found = client.read_flow_runs(flow_run_filter=paused, limit=_MOST)
    return sorted((run for run in found if _asks(run)), key=lambda run: str(run.created), reverse=True)


def decide(client: SyncPrefectClient, run: str, *, refuse: bool, shots: int | None, by: str) -> str:
    """Approve or refuse a run, with so many shots if some are given; the id of the run.

    Args:
        client: Of the server that knows the run.
        run: Its id, the beginning of one, or its name.
        refuse: Whether nothing of it is to be sent.
        shots: Approve it with so many shots for each circuit.
        by: Who decides.

    Raises:
        InvalidInput: No run of that name waits for approval, or several do; or it was decided meanwhile.
    """
    waiting = waiting_for_approval(client)
    chosen = [each for each in waiting if str(each.id).startswith(run) or each.name == run]
    if len(chosen) != 1:
        words = "no run" if not chosen else f"{len(chosen)} runs"
        known = ", ".join(f"{each.id} ({each.name})" for each in waiting) or "none"
        raise InvalidInput(
            f"{words} {run!r} wait{'' if len(chosen) > 1 else 's'} for approval: it may be decided or ended already, "
            f"or it waits for its jobs; waiting are: {known}. See: {_PROG}",
            field="run",
        )
    given: dict[str, Any] = {"approve": not refuse, "decided_by": by}
    if shots is not None:
        given["shots"] = shots
    answer = client.resume_flow_run(chosen[0].id, run_input=given)
    if answer.status is not SetStateStatus.ACCEPT:
        why = str(getattr(answer.details, "reason", None) or answer.status).rstrip(".")
        raise InvalidInput(f"the run {chosen[0].id} cannot be decided now: {why}. See: {_PROG}", field="run")
    return str(chosen[0].id)


def _asks(run: FlowRun) -> bool:
    keyset = run.state.state_details.run_input_keyset if run.state is not None else None
    return bool(keyset) and str((keyset or {}).get("response", "")).startswith(KEY)


def approve(
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="id or name of a run that waits; without it they are listed")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="approve it as it is")] = False,
    shots: Annotated[
        int | None, typer.Option("--shots", metavar="N", help="approve it with so many shots for each circuit")
    ] = None,
    refuse: Annotated[
        bool, typer.Option("--refuse", help="refuse it: its jobs are cancelled, nothing is sent")
    ] = False,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="who decides (default: the user here)")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> int:
    """Decide about a run that waits for approval, or list those that wait."""
    if run:
        check_decision(yes=yes, shots=shots, refuse=refuse)
    elif yes or refuse or shots is not None:
        raise InvalidInput(f"name the run; those that wait are listed by: {_PROG}", field="run")
    with served(_say_aside), get_client(sync_client=True) as client:
        if run:
            decided = decide(client, run, refuse=refuse, shots=shots, by=by or person())
            words = {"run": decided, "decision": "refused" if refuse else "approved", "shots": shots}
            if as_json:
                print_json(words)
            else:
                print(f"{decided} is {words['decision']}; a worker goes on with it")
            return 0
        rows = [[str(each.id), each.name, _words(each)] for each in waiting_for_approval(client)]
    if as_json:
        print_json([{"run": run_id, "name": name, "asks": asks} for run_id, name, asks in rows])
    else:
        print_table(["run", "name", "asks"], rows, empty="no run waits for approval")
    return 0


def _say_aside(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _words(run: FlowRun) -> str:
    return (run.state.message or "") if run.state is not None else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command.

    Returns:
        Exit code: 0 done, 1 there is no server, 2 nothing of the kind waits.
    """
    program = alone(approve, example=f"{_PROG} RUN --yes")
    try:
        return called(program, sys.argv[1:] if arguments is None else arguments, prog=_PROG)
    except ServerProblem as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
