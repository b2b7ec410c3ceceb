"""Money in a simulated schedule: a cap that is too low for all jobs, what the provider bills, and the laws of both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from model_provider import Remote
from simulation_laws import demand

from qjobs.ledger.money import Cap, CapStanding
from qjobs.lifecycle import FINAL, JobStatus

if TYPE_CHECKING:
    from simulation_world import World

S = JobStatus
UNIT = "HQC"
PRICE = 10.0
"""What an item is estimated at, and costs at the most."""
_CENT = 0.005
_FAILED = 3.33


class Money:
    """The account of one schedule. `most` is the highest amount that the cap ever had."""

    def __init__(self, world: World, n_items: int, most_items: int) -> None:
        self.world = world
        self.ledger = world.ledger
        self.most = 0.0
        amount = PRICE * world.rng.randint(most_items, max(most_items, n_items - 1))
        self.put(amount + 0.25)
        world.ours.cost_per_item = PRICE
        world.ledger.price_jobs(PRICE)

    def put(self, amount: float) -> None:
        """Set the cap."""
        self.most = max(self.most, amount)
        self.ledger.caps.put(Cap(name="lab", amount=amount, unit=UNIT), now=self.world.now())
        self.world.say(f"the cap is {amount:g} {UNIT}")

    def cost_told(self, remote: Remote) -> float | None:
        """What the provider says of the cost of a job."""
        return self.billed(remote) if self.tells(remote) else None

    @staticmethod
    def tells(remote: Remote) -> bool:
        """Whether the provider says what a job costs."""
        return remote.serial % 4 != 0

    @staticmethod
    def billed(remote: Remote) -> float:
        """What a job has cost so far."""
        cents = 0
        for index, status in zip(remote.items, remote.statuses, strict=True):
            if status is S.COMPLETED:
                cents += int(100 * PRICE) - 37 * ((remote.serial + index) % 5)
            elif status is S.ERROR:
                cents += int(100 * _FAILED)
        return cents / 100

    def may_cost(self, remote: Remote) -> float:
        """What a job has cost, and may still cost."""
        if remote.is_open:
            return 0.0
        left = 0 if remote.gone else sum(status not in FINAL for status in remote.statuses)
        return self.billed(remote) + PRICE * left

    def _is_foreseen(self, remote: Remote) -> bool:
        """Whether it costs what was foreseen: it is not begun by one who had lost it, nor queued again, nor denied."""
        others = [each for each in self.world.provider.jobs.values() if each.job_id == remote.job_id]
        return not any(
            each.woke or each.requeued or each.hid or each.after_all or each.hidden or each.gateway for each in others
        ) and not any(self._is_denied(each) for each in others)

    def _is_denied(self, remote: Remote) -> bool:
        """Whether it was deleted before the ledger had its id: the provider says that it never was."""
        if not remote.gone:
            return False
        query = "SELECT 1 FROM attempt WHERE remote_id = ? UNION SELECT 1 FROM stray WHERE remote_id = ?"
        return not self.ledger.rows(query, remote.remote_id, remote.remote_id)

    def _standing(self) -> CapStanding:
        (standing,) = self.ledger.caps.all(now=self.world.now())
        return standing

    def check(self) -> None:
        """What is at the provider is never more than the ledger counts, and that is never more than the cap."""
        world = self.world
        foreseen = [each for each in world.provider.jobs.values() if self._is_foreseen(each)]
        there = math.fsum(self.may_cost(each) for each in foreseen)
        demand(there <= self.most + _CENT, f"money: {there:g} is at the provider, and the cap is {self.most:g}")
        if len(foreseen) < len(world.provider.jobs):
            return
        counted = self._standing().used
        demand(counted <= self.most + _CENT, f"money: {counted:g} counts for the cap of {self.most:g}")
        demand(there <= counted + _CENT, f"money: {there:g} is at the provider, and {counted:g} counts")

    def check_end(self) -> None:
        """What is settled is what the provider billed, to the cent."""
        jobs = self.world.provider.jobs
        query = (
            "SELECT remote_id, cost, reserved FROM attempt WHERE remote_id IS NOT NULL AND status IN "
            "('COMPLETED', 'ERROR', 'CANCELLED', 'TERMINATED', 'DEPLETED') UNION "
            "SELECT remote_id, cost, reserved FROM stray WHERE ended_at IS NOT NULL AND remote_id NOT IN "
            "(SELECT remote_id FROM attempt WHERE remote_id IS NOT NULL)"
        )
        told = []
        is_settled = True
        for remote_id, cost, reserved in self.ledger.rows(query):
            remote = jobs[remote_id]
            is_settled = is_settled and not (remote.live or remote.gone or remote.refuses)
            if remote.is_open or remote.live or remote.gone or remote.refuses or not self._is_foreseen(remote):
                continue
            billed = self.billed(remote)
            if self.tells(remote):
                words = f"money: {remote} cost {billed:g}, and the ledger has {cost} of {reserved} reserved"
                counted = 0.0 if cost is None and reserved == 0 else cost  # it was ended before it could run
                demand(counted is not None and abs(counted - billed) < _CENT, words)
                told.append(billed)
            else:
                demand(cost is None and reserved >= billed, f"money: {remote} is estimated at {reserved}, not {billed}")
        if is_settled and all(self._is_foreseen(each) and not each.refuses for each in jobs.values()):
            standing = self._standing()
            words = f"money: the provider told {math.fsum(told):g}, and the ledger has {standing.told:g}"
            demand(abs(math.fsum(told) - standing.told) < _CENT, words)
