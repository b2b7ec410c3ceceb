"""Adapters that submit wrongly, or describe themselves wrongly."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from breaking import breaks
from right_adapter import RightAdapter

from qjobs.backends.base import (
    Confirmation,
    Fingerprint,
    Limits,
    Lookup,
    PlainJournal,
)
from qjobs.errors import ProtocolError, QJobsError
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteId
from qjobs.testing.contract import new_key


def quietly(journal, **changes):
    """The same journal with some of its functions exchanged."""
    same = {name: getattr(journal, name) for name in ("preparing", "sending", "reserved", "accepted")}
    return PlainJournal(**{**same, **changes})


@breaks("test_accepted_once")
class ForgetsAccepted(RightAdapter):
    def submit(self, batch, key, journal):
        super().submit(batch, key, quietly(journal, accepted=lambda _: None))


@breaks("test_accepted_once")
class AcceptsTwice(RightAdapter):
    def submit(self, batch, key, journal):
        super().submit(batch, key, journal)
        journal.accepted(self.keys[key])


@breaks("test_accepted_once")
class NeverSaysSending(RightAdapter):
    def submit(self, batch, key, journal):
        super().submit(batch, key, quietly(journal, sending=lambda: None))


@breaks("test_accepted_once")
class SaysSendingTwice(RightAdapter):
    def submit(self, batch, key, journal):
        super().submit(batch, key, quietly(journal, preparing=journal.sending))


@breaks("test_accepted_once")
class SaysSendingTooLate(RightAdapter):
    def submit(self, batch, key, journal):
        super().submit(batch, key, quietly(journal, sending=lambda: None))
        journal.sending()


@breaks("test_sending_keeps_it_back")
class SendsWithoutAsking(RightAdapter):
    def submit(self, batch, key, journal):
        self.create(batch, key)
        super().submit(batch, key, journal)


@breaks("test_sending_keeps_it_back")
class SendsAllTheSame(RightAdapter):
    def submit(self, batch, key, journal):
        try:
            super().submit(batch, key, journal)
        except QJobsError:
            raise
        except Exception:
            self.create(batch, key)
            raise


@breaks("test_error_while_preparing")
class SendsUnprepared(RightAdapter):
    def submit(self, batch, key, journal):
        try:
            journal.preparing()
        finally:
            self.create(batch, key)
        super().submit(batch, key, journal)


@breaks("test_error_while_preparing")
class AcceptsAfterAnError(RightAdapter):
    def submit(self, batch, key, journal):
        try:
            super().submit(batch, key, journal)
        except Exception:
            journal.accepted(RemoteId("job-x"))
            raise


@breaks("test_error_of_accepted")
class SwallowsErrorsOfAccepted(RightAdapter):
    def submit(self, batch, key, journal):
        def careless(each):
            with contextlib.suppress(Exception):
                journal.accepted(each)

        super().submit(batch, key, quietly(journal, accepted=careless))


@breaks("test_submit_does_not_wait")
class WaitsInSubmit(RightAdapter):
    def submit(self, batch, key, journal):
        super().submit(batch, key, journal)
        self.jobs[self.keys[key]].polls_left = 0
        self.poll(self.jobs[self.keys[key]])


@breaks("test_refused_batch")
class AcceptsAnything(RightAdapter):
    def problem(self, batch):
        return ""


@breaks("test_refused_batch")
class RefusesAfterCreating(RightAdapter):
    def submit(self, batch, key, journal):
        if self.problem(batch):
            journal.accepted(RemoteId("job-x"))
        super().submit(batch, key, journal)


@breaks("test_same_key")
class MakesASecondJob(RightAdapter):
    def create(self, batch, key):
        self.keys.pop(key, None)
        return super().create(batch, key)


@breaks("test_same_key")
class ForgetsTheTokenOfAFinalJob(RightAdapter):
    def create(self, batch, key):
        if key in self.keys and self.jobs[self.keys[key]].results:
            del self.keys[key]
        return super().create(batch, key)


@breaks("test_same_key")
class TakesAChosenIdTwice(RightAdapter):
    lookup = Lookup(chosen_id=True)

    def create(self, batch, key):
        self.keys.pop(key, None)
        return super().create(batch, key)


@breaks("test_same_key")
class FindsWhatItCannot(RightAdapter):
    lookup = Lookup(token_lifetime_s=60.0)


@breaks("test_ids_are_unique")
class ReusesIds(RightAdapter):
    def create(self, batch, key):
        super().create(batch, key)
        return RemoteId("job-0")


@breaks("test_same_key")
class FindsNothing(RightAdapter):
    lookup = Lookup(by_key=True)

    def find(self, key):
        return None


@breaks("test_unknown_key")
class FindsTooMuch(RightAdapter):
    def find(self, key):
        return RemoteId("job-0")


@breaks("test_remote_jobs")
class ListsWrongKeys(RightAdapter):
    def remote_jobs(self):
        return [replace(job, key=new_key()) for job in super().remote_jobs()]


@breaks("test_closes_twice")
class ClosesOnce(RightAdapter):
    closed = False

    def close(self):
        if self.closed:
            raise ProtocolError("closed")
        self.closed = True


@breaks("test_describes_itself")
class HasASillyLimit(RightAdapter):
    limits = Limits(max_items=0, max_shots=10_000)


@breaks("test_describes_itself")
class BelievesNothing(RightAdapter):
    confirm = Confirmation(absent_times=0)


@breaks("test_describes_itself")
class RevokesOpenStatuses(RightAdapter):
    confirm = Confirmation(revocable=frozenset({JobStatus.RUNNING}))


@breaks("test_describes_itself")
class PromisesUnknownThings(RightAdapter):
    capabilities = frozenset({"teleport"})


@breaks("test_fingerprint")
class ChangesItsFingerprint(RightAdapter):
    @property
    def fingerprint(self):
        return Fingerprint(place=f"here, {len(self.jobs)} jobs")


@breaks("test_fingerprint")
class ShowsASecret(RightAdapter):
    fingerprint = Fingerprint(place="http://me:password@here")


@breaks("test_fingerprint")
class HasAnAmbiguousFingerprint(RightAdapter):
    fingerprint = Fingerprint(place="here | there")


@breaks("test_fingerprint_of_another")
class LeavesOutTheNoise(RightAdapter):
    fingerprint = Fingerprint(place="here")


@breaks("test_estimate")
class PaysOut(RightAdapter):
    def estimate(self, batch):
        return -1.0


@breaks("test_link")
class LinksToNowhere(RightAdapter):
    def link(self, remote_id):
        return str(remote_id)
