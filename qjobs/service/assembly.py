"""The parts of the service, put together once."""

from __future__ import annotations

from dataclasses import dataclass

from qjobs.ledger.database import Database
from qjobs.service.accounts.accounts import Accounts
from qjobs.service.accounts.passwords import Passwords, Throttle
from qjobs.service.accounts.quotas import Quotas
from qjobs.service.accounts.sessions import Sessions
from qjobs.service.changes import Changes
from qjobs.service.clock import ServiceClock
from qjobs.service.devices import Devices
from qjobs.service.execution.executor import Executor
from qjobs.service.service_lock import ServiceLock
from qjobs.service.settings import Settings
from qjobs.service.store.content import Content
from qjobs.service.store.jobs import JobStore
from qjobs.service.tables import SERVICE


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Everything that the routes need."""

    settings: Settings
    db: Database
    clock: ServiceClock
    devices: Devices
    accounts: Accounts
    sessions: Sessions
    throttle: Throttle
    quotas: Quotas
    content: Content
    jobs: JobStore
    changes: Changes
    lock: ServiceLock
    executor: Executor

    @classmethod
    def open(cls, settings: Settings) -> Service:
        """Open the database and put the parts together; the executor does nothing until it is started.

        Raises:
            LedgerError: The database cannot be opened.
            InvalidInput: The device file cannot be used, or another service works on the database.
        """
        devices = Devices.load(settings.device_file)
        db = Database(settings.database_url, SERVICE)
        lock = ServiceLock(db)
        try:
            lock.acquire()
            clock = ServiceClock(db, settings.clock_speed)
            changes = Changes()
            passwords = Passwords()
            throttle = Throttle()
            accounts = Accounts(db, clock.now, passwords)
            content = Content(db, clock, accounts)
            jobs = JobStore(db, clock, devices, changes, settings, accounts)
            return cls(
                settings=settings,
                db=db,
                clock=clock,
                devices=devices,
                accounts=accounts,
                sessions=Sessions(db, accounts, passwords, settings, throttle=throttle),
                throttle=throttle,
                quotas=Quotas(db, clock, settings),
                content=content,
                jobs=jobs,
                changes=changes,
                lock=lock,
                executor=Executor(db, clock, devices, changes, jobs, settings, lock),
            )
        except BaseException:
            lock.release()
            db.close()
            raise

    def close(self) -> None:
        """Stop the executor and close the database. Idempotent."""
        try:
            self.executor.stop()
        finally:
            self.lock.release()
            self.db.close()
