"""Decide about runs that ask a person, from the command line: `qjobs approve`, or `python -m flows.approve`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus

from flows._support.asking import APPROVAL, UNKNOWN, asking_runs, complete, key_of
from flows._support.local_server import ServerProblem, served
from qjobs.cli.approval import check_decision, person
from qjobs.cli.declaring import alone, called
from qjobs.cli.tables import print_json, print_table
from qjobs.errors import InvalidInput

__all__ = ["decide", "main", "waiting_for_decision"]

_PROG = "qjobs approve"
_OF_APPROVAL = "--yes, --shots N or --refuse"
_OF_UNKNOWN = "--adopt ID, --discard or --wait"


def waiting_for_decision(client: SyncPrefectClient) -> list[FlowRun]:
    """The runs that ask a person: for approval, or about a job that is UNKNOWN; the newest first."""
    return asking_runs(client, APPROVAL, UNKNOWN)


def decide(client: SyncPrefectClient, run: str, given: Mapping[str, Any], *, about: str = APPROVAL) -> str:
    """Answer the question of a run; the id of the run.

    Args:
        client: Of the server that knows the run.
        run: Its id, the beginning of one, or its name.
        given: The fields of its form, as the person fills them in.
        about: What the question must be about: `APPROVAL` or `UNKNOWN`.

    Raises:
        InvalidInput: No run of that name waits for a decision, or several do; it asks for something else; or it was
            decided meanwhile.
    """
    waiting = waiting_for_decision(client)
    chosen = [each for each in waiting if str(each.id).startswith(run) or each.name == run]
    if len(chosen) != 1:
        words = "no run" if not chosen else f"{len(chosen)} runs"
        known = ", ".join(f"{each.id} ({each.name})" for each in waiting) or "none"
        raise InvalidInput(
            f"{words} {run!r} wait{'' if len(chosen) > 1 else 's'} for approval: it may be decided or ended already, "
            f"or it waits for its jobs; waiting are: {known}. See: {_PROG}",
            field="run",
        )
    key = key_of(chosen[0])
    if not key.startswith(about):
        choices = _OF_APPROVAL if key.startswith(APPROVAL) else _OF_UNKNOWN
        raise InvalidInput(f"the run {chosen[0].id} {_words(chosen[0])}; choose {choices}", field="run")
    complete(client, chosen[0].id, key)
    answer = client.resume_flow_run(chosen[0].id, run_input=dict(given))
    if answer.status is not SetStateStatus.ACCEPT:
        why = str(getattr(answer.details, "reason", None) or answer.status).rstrip(".")
        raise InvalidInput(f"the run {chosen[0].id} cannot be decided now: {why}. See: {_PROG}", field="run")
    return str(chosen[0].id)


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
    adopt: Annotated[
        str, typer.Option("--adopt", metavar="ID", help="the UNKNOWN job it asks about is this remote job")
    ] = "",
    discard: Annotated[
        bool,
        typer.Option("--discard", help="send that job again; if it exists after all, it runs twice and costs twice"),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="look for that job once more, and ask again")] = False,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="who decides (default: the user here)")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> int:
    """Decide about a run that waits for approval, or asks about an UNKNOWN job; or list those that wait."""
    is_about_unknown = bool(adopt) or discard or wait
    is_decided = is_about_unknown or yes or refuse or shots is not None
    if is_about_unknown and (bool(adopt) + discard + wait > 1 or yes or refuse or shots is not None):
        raise InvalidInput(f"choose one of: {_OF_UNKNOWN}; or: {_OF_APPROVAL}", field="adopt")
    if run and not is_about_unknown:
        check_decision(yes=yes, shots=shots, refuse=refuse)
    if is_decided and not run:
        raise InvalidInput(f"name the run; those that wait are listed by: {_PROG}", field="run")
    with served(_say_aside), get_client(sync_client=True) as client:
        if run:
            if is_about_unknown:
                about, words = UNKNOWN, "adopt" if adopt else "discard" if discard else "wait"
                given: dict[str, Any] = {"decision": words, "remote_id": adopt}
            else:
                about, words = APPROVAL, "refused" if refuse else "approved"
                given = {"approve": not refuse} if shots is None else {"approve": not refuse, "shots": shots}
            decided = decide(client, run, {**given, "decided_by": by or person()}, about=about)
            if as_json:
                print_json({"run": decided, "decision": words, "shots": shots})
            else:
                done = f"is answered with {words}" if is_about_unknown else f"is {words}"
                print(f"{decided} {done}; a worker goes on with it")
            return 0
        rows = [[str(each.id), each.name, _words(each)] for each in waiting_for_decision(client)]
    if as_json:
        print_json([{"run": run_id, "name": name, "asks": asks} for run_id, name, asks in rows])
    else:
        print_table(["run", "name", "asks"], rows, empty="no run waits for approval, or asks about an UNKNOWN job")
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
