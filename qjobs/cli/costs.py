"""`qjobs costs`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import fields

from qjobs.cli.jobs import chosen, no_jobs_words
from qjobs.cli.options import JobFilters, Shared
from qjobs.cli.tables import print_json, print_table
from qjobs.errors import InvalidInput
from qjobs.ledger import Ledger
from qjobs.ledger.costs import CostGroup, CostLine

_COLUMNS = tuple(each.name for each in fields(CostLine) if each.name != "groups")


def costs(filters: JobFilters, shared: Shared, *, by: Sequence[str], as_csv: bool) -> int:
    """Print the statement of the jobs that are meant."""
    groups = [CostGroup(word) for word in dict.fromkeys(by)]
    if as_csv and shared.as_json:
        raise InvalidInput("choose one of --csv and --json", field="csv")
    wanted = chosen(filters)
    with Ledger(shared.url) as ledger:
        lines = ledger.costs(wanted, groups)
        shown_url = ledger.url
    if shared.as_json:
        print_json([line.named(groups) for line in lines])
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, [*groups, *_COLUMNS], lineterminator="\n")
        writer.writeheader()
        writer.writerows(line.named(groups) for line in lines)
    elif not lines:
        print(no_jobs_words(shared.url, shown_url, filtered=wanted.is_narrow))
    else:
        _print(lines, groups)
    return 0


def _print(lines: Sequence[CostLine], groups: Sequence[CostGroup]) -> None:
    rows = []
    for line in lines:
        cells = [*line.groups, line.backend, line.jobs, line.submissions, line.circuits]
        rows.append([*cells, _estimate(line), _cost(line)])
    print_table([*groups, "backend", "jobs", "sent", "circuits", "estimate", "cost"], rows, whole=0)


def _estimate(line: CostLine) -> str:
    words = [] if line.estimate is None else [f"{line.estimate:,.2f}"]
    if line.no_estimate:
        words.append(f"{line.no_estimate} without")
    return ", ".join(words)


def _cost(line: CostLine) -> str:
    words = [] if line.cost is None else [f"{line.cost:,.2f}"]
    if line.unknown:
        words.append(f"{line.unknown} unknown")
    if line.unfinished:
        words.append(f"{line.unfinished} not ended")
    return ", ".join(words)
