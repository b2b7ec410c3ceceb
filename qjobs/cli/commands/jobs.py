"""The commands below `qjobs jobs`: look at jobs, retry, rerun, cancel, adopt and discard them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from qjobs.cli.declaring import command, group
from qjobs.cli.options import Caps, JobArgument, JobFilters, Shared, Statuses, Where
from qjobs.model import RemoteRetryStrategy

app = group("Look at jobs, retry, rerun, cancel, adopt or discard them.", example="qjobs jobs list")


class Order(StrEnum):
    """As `qjobs.ledger.job_filter.JobOrder` has them; with that comes a database."""

    NEWEST = "newest"
    OLDEST = "oldest"
    NAME = "name"
    STATUS = "status"
    FINISHED = "finished"


@command(app, "list", example="qjobs jobs list --status ERROR --since 3d --device H1-1E")
def list_jobs(
    filters: JobFilters,
    shared: Shared,
    order: Annotated[
        Order,
        typer.Option("--order", metavar="ORDER", help=f"{', '.join(Order)} (default newest)"),
    ] = Order.NEWEST,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="at most so many (default 50)")] = 50,
    page: Annotated[int, typer.Option("--page", metavar="N", min=1, help="which so many, from 1")] = 1,
) -> int:
    """List jobs, newest first."""
    from qjobs.cli import jobs as working

    return working.list_jobs(working.chosen(filters, order=order, limit=limit, page=page), shared)


@command(app, "show", example="qjobs jobs show @1")
def show(
    job: JobArgument,
    shared: Shared,
    items: Annotated[int, typer.Option("--items", metavar="N", help="show at most so many items (default 20)")] = 20,
) -> int:
    """Show a job: attempts, items, history."""
    from qjobs.cli import jobs as working

    return working.show_job(job, shared, most_items=items)


@command(app, "results", example="qjobs jobs results @1 --parquet results.parquet")
def results(
    job: JobArgument,
    shared: Shared,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", metavar="FILE", help="write them to this file instead")
    ] = None,
) -> int:
    """Show the results of a job."""
    from qjobs.cli import jobs as working

    return working.show_results(job, shared, parquet=parquet)


@command(app, "retry", example="qjobs jobs retry 1f3a --strategy FORCE_RESUBMIT --max-cost 20")
def retry(
    job: JobArgument,
    caps: Caps,
    where: Where,
    shared: Shared,
    status: Statuses = None,
    strategy: Annotated[
        RemoteRetryStrategy,
        typer.Option(
            "--strategy", metavar="STRATEGY", case_sensitive=False, help=f"one of {', '.join(RemoteRetryStrategy)}"
        ),
    ] = RemoteRetryStrategy.DEFAULT,
) -> int:
    """Retry a job's items without a result.

    Without --status these are the items in ERROR, or the whole job where it is not at its provider.
    """
    from qjobs.cli import recover as working

    return working.retry_job(job, shared, where, caps, statuses=status, strategy=strategy)


@command(app, "rerun", example="qjobs jobs rerun 1f3a second-try")
def rerun(
    job: JobArgument,
    shared: Shared,
    name: Annotated[str, typer.Argument(metavar="NAME", help="name of the new job")],
) -> int:
    """Make a new job of the same definition; sends nothing."""
    from qjobs.cli import recover as working

    return working.rerun_job(job, name, shared)


@command(app, "cancel", example="qjobs jobs cancel 1f3a --item 0 --item 3")
def cancel(
    job: JobArgument,
    where: Where,
    shared: Shared,
    item: Annotated[
        list[int] | None, typer.Option("--item", metavar="N", help="only this item, from 0; may be repeated")
    ] = None,
) -> int:
    """Ask for cancellation of a job."""
    from qjobs.cli import recover as working

    return working.cancel_job(job, shared, where, items=item)


@command(app, "adopt", example="qjobs jobs adopt 1f3a 9c07d1e2-4b6f")
def adopt(
    job: JobArgument,
    remote_id: Annotated[str, typer.Argument(metavar="REMOTE_ID", help="the provider's id")],
    where: Where,
    shared: Shared,
) -> int:
    """Say which remote job an UNKNOWN job is."""
    from qjobs.cli import recover as working

    return working.adopt_job(job, remote_id, shared, where)


@command(app, "discard", example="qjobs jobs discard 1f3a")
def discard(job: JobArgument, shared: Shared) -> int:
    """Say that an UNKNOWN job has no remote job."""
    from qjobs.cli import recover as working

    return working.discard_job(job, shared)
