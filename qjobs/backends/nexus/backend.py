"""Quantinuum Nexus, or a service that speaks as it does (`qjobs serve`).

A job is named `<prefix><key>`, so that one whose reply was lost is found by its exact name. Programs are uploaded
first, which may be repeated; then one POST makes the job.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from qjobs.backends.base import (
    Answer,
    Capability,
    Confirmation,
    Fingerprint,
    Journal,
    Limits,
    LiveJob,
    Lookup,
    MissingResult,
    Pricing,
    RemoteJob,
    Result,
    Snapshot,
    Target,
)
from qjobs.backends.fan_out import FanOut
from qjobs.backends.http import HttpClient, Refusal, before_sending, place_of, tls_context
from qjobs.backends.limiter import Limiter
from qjobs.backends.lru import LruCache
from qjobs.backends.nexus import wire
from qjobs.backends.nexus.costs import estimate_hqc, is_syntax_checker, pricing_of
from qjobs.backends.nexus.devices import DEVICES, config_of, has_batches, is_hosted, target_in
from qjobs.backends.nexus.jobs import Jobs
from qjobs.backends.nexus.programs import Templates
from qjobs.backends.nexus.projects import KEY_PROPERTY, Project, Projects
from qjobs.backends.nexus.results import Downloads
from qjobs.backends.nexus.status_socket import StatusSocket
from qjobs.backends.nexus.tokens import NexusAuth, NexusTokens, find_refresh_token
from qjobs.backends.nexus.uploads import Uploads
from qjobs.errors import (
    InvalidInput,
    ProtocolError,
    QJobsError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, JobKind, Key, RemoteId

logger = logging.getLogger(__name__)

NEXUS_URL: Final = "https://nexus.quantinuum.com"
_MAX_ITEMS: Final = 300
"""Circuits a job: https://docs.quantinuum.com/nexus/trainings/notebooks/basics/jobs.html."""
_MAX_SHOTS: Final = 10_000
"""Shots a circuit on Quantinuum's machines and their emulators: the same page. Simulators have limits of their own."""
_MACHINES: Final = frozenset({"QuantinuumConfig", "HeliosConfig"})
_PROVED_S: Final = 5.0
"""How lately Nexus must have taken the access token before a job is sent: a 401 to its POST would prove nothing."""
_REVOCABLE: Final = Confirmation(revocable=frozenset({JobStatus.ERROR, JobStatus.CANCELLED}))
"""Nexus corrects these when it asks the device again: https://docs.quantinuum.com/nexus/user_guide/concepts/jobs.html."""


def limits_of(device: str, config: Mapping[str, Any] | None = None) -> Limits:
    """What a job of a device may hold there: 300 circuits, and 10,000 shots a circuit on a machine."""
    is_machine = config_of(device, config or {}, None)["type"] in _MACHINES
    return Limits(max_items=_MAX_ITEMS, max_shots=_MAX_SHOTS if is_machine else None)


class NexusBackend:
    """A device behind Quantinuum Nexus.

    Args:
        device: The device as Nexus names it: `Aer`, `H1-1E`, and so on.
        project: The name of the project that jobs are put into; it is made if there is none.
        name: The name that jobs are filed under. Two accounts need two names.
        token: The refresh token; None to find it as `find_refresh_token` does.
        user_group: The group that is billed; None for the user's default.
        region: Where jobs run, `us` or `sg`; None for where Nexus is.
        max_cost: The most that one circuit may cost, in HQC; None for no cap of ours.
        config: Further fields of Nexus's configuration of the device, for example `{"noisy_simulation": False}`.
        prefix: What precedes the key in the name of a remote job.
        verify: True for the usual authorities, False to trust anybody, or the path of a file of certificates.
        timeout_s: How long an answer may take, in seconds.
        limits: What one job may hold; None for Nexus's own 300 circuits, and 10,000 shots on a machine.
        poll_interval_s: Shortest and longest pause between two polls, in seconds.
        settle_s: How long after a lost reply a job may still appear, in seconds.
        confirm: When reports are believed; None to ask once more after an error or a cancellation at Quantinuum's own
            Nexus. A service of one's own takes nothing back by itself.
        max_per_s: The most requests a second, sustained, of all backends of this `name`; None for no limit.
        limiter: Another limiter than the one of this process for the account.

    Raises:
        InvalidInput: There is no device, project or prefix, `url` is not a URL, or `verify` not a file of certificates.
    """

    lookup = Lookup(by_key=True)

    def __init__(
        self,
        device: str,
        *,
        url: str = NEXUS_URL,
        project: str = "qjobs",
        name: str = "nexus",
        token: str | None = None,
        user_group: str | None = None,
        region: str | None = None,
        max_cost: float | None = None,
        config: Mapping[str, Any] | None = None,
        prefix: str = "qjobs-",
        verify: bool | str = True,
        timeout_s: float = 120.0,
        limits: Limits | None = None,
        poll_interval_s: tuple[float, float] = (1.0, 60.0),
        settle_s: float = 60.0,
        confirm: Confirmation | None = None,
        max_per_s: float | None = None,
        limiter: Limiter | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not device or not project or not prefix:
            raise InvalidInput("a device, a project and a prefix of names are needed", field="device")
        sent_config = config_of(device, config or {}, None)
        limits = limits or limits_of(device, config)
        gives_results = not is_syntax_checker(device)
        self.capabilities = frozenset({Capability.COMPILE, Capability.DURABLE})
        if has_batches(sent_config):
            self.capabilities |= {Capability.BATCHES}
        self.name = name
        self.device = device
        self.url = url
        self.limits = limits if gives_results else replace(limits, results_kept_s=0.0)
        self.confirm = confirm or (_REVOCABLE if url.rstrip("/") == NEXUS_URL else Confirmation())
        self.poll_interval_s = poll_interval_s
        self.settle_s = settle_s
        self._user_group = user_group
        self._region = region
        self._max_cost = max_cost
        self._config = dict(config or {})
        self._tls = tls_context(verify)
        self._sleep = sleep
        self._monotonic = monotonic
        self._user_id: str | None = None
        self._tokens = NexusTokens(
            url, lambda: find_refresh_token(token), verify=verify, sleep=sleep, monotonic=monotonic
        )
        self._http = HttpClient(
            url,
            name=name,
            headers=lambda: {"content-type": "application/json"},
            read_timeout_s=timeout_s,
            limiter=limiter,
            max_per_s=max_per_s,
            sleep=sleep,
            verify=verify,
            auth=NexusAuth(self._tokens),
        )
        self.fingerprint = Fingerprint(
            place=f"{place_of(url)} as {name}".replace(" | ", " "), settings=json.dumps(sent_config, sort_keys=True)
        )
        self._fan_out = FanOut()
        self._templates = Templates()
        self._sent: LruCache[RemoteId, tuple[str, ...]] = LruCache(1000)
        """The ids of the programs of a job that was sent here, in the order of its items."""
        self._projects = Projects(self._http, project)
        self._uploads = Uploads(self._http, self._fan_out, self._templates, monotonic=monotonic)
        self._jobs = Jobs(self._http, self._projects, self._fan_out, prefix=prefix, monotonic=monotonic)
        self._downloads = Downloads(
            self._http, self._fan_out, device=device, gives_results=gives_results, monotonic=monotonic
        )

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        """Upload the programs, then create the job with one POST; its name and a property of it hold the key."""
        project, program_ids = self._prepare(batch, journal)
        body = wire.job_body(
            name=self._jobs.name_of(key),
            description=batch.name,
            properties={KEY_PROPERTY: key} if project.has_property else {},
            project_id=project.project_id,
            job_type=str(batch.kind),
            definition=self._definition(batch, program_ids),
        )
        try:
            answer = self._http.submit(
                wire.JOBS, json=body, sending=journal.sending, proves_refusal=wire.proves_refusal
            )
        except SubmissionRejected:
            self._uploads.forget(batch)  # perhaps Nexus no longer has one of them
            self._projects.forget()
            raise
        try:
            remote_id = RemoteId(wire.text(answer, "data", "id"))
        except ProtocolError as error:
            raise SubmissionUnknown(f"{self.name} accepted something and answered no id: {error}") from error
        journal.accepted(remote_id)
        self._sent.put(remote_id, tuple(program_ids))
        logger.info("%s: created job %s of %d items, key %s", self.name, remote_id, len(batch.items), key)

    def _prepare(self, batch: Batch, journal: Journal) -> tuple[Project, list[str]]:
        """The project and the ids of the uploaded programs. Whatever fails here, no job was sent."""
        with before_sending():
            try:
                project = self._projects.find_or_make()
                program_ids = self._uploads.ids_of(batch, project.project_id, journal.preparing)
                if not self._tokens.accepted_within(_PROVED_S):
                    self._http.read("GET", wire.ME, ignore={403, 404})
            except ProtocolError as error:
                if error.code is None:
                    raise
                self._projects.forget()
                raise SubmissionRejected(f"the job was not sent: {error}", detail=str(error)) from error
        return project, program_ids

    def _definition(self, batch: Batch, program_ids: Sequence[str]) -> dict[str, Any]:
        config = config_of(self.device, self._config, batch.options.seed)
        if batch.options.batch_id is not None:
            config |= {"attempt_batching": True, "batch_id": batch.options.batch_id}
        shared = {"backend_config": config, "user_group": self._user_group, "credential_name": None}
        if batch.kind is JobKind.COMPILE:
            level = batch.options.level
            return {
                **shared,
                "hypertket_config": None,
                "optimisation_level": 2 if level is None else level,
                "skip_store_intermediate_passes": True,
                "items": [{"program_id": program_id} for program_id in program_ids],
            }
        items = []
        for item, program_id in zip(batch.items, program_ids, strict=True):
            entry: dict[str, Any] = {"program_id": program_id, "n_shots": item.shots}
            if self._max_cost is not None:
                entry["max_cost"] = self._max_cost
            if config["type"] == "HeliosConfig":
                entry["n_qubits"] = batch.programs[item.program].n_qubits
            items.append(entry)
        fixed = {"valid_check": True, "language": "AUTO", "wasm_module_id": None, "gpu_decoder_config_id": None}
        return {**shared, **fixed, "target_region": self._region, "items": items}

    def find(self, key: Key) -> RemoteId | None:
        """Find a job by its exact name, in whatever project it is."""
        return self._jobs.find(key)

    def remote_jobs(self) -> list[RemoteJob] | None:
        """List the jobs of the project whose names begin with the prefix."""
        return self._jobs.with_keys()

    def live_jobs(self) -> list[LiveJob] | None:
        """List the open jobs that Nexus shows to the account, from whatever project; a colleague's in a shared one too.

        The list does not say whose job it is.
        """
        return self._jobs.live(config_of(self.device, self._config, None))

    def status(self, remote_ids: Sequence[RemoteId]) -> Mapping[RemoteId, Answer]:
        """Read the status of many jobs: open ones from the list, the rest, or just a few, with a request each."""
        return self._jobs.status(remote_ids)

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        """Download results, eight at a time; of a job that Nexus no longer has, none of `items` ever comes.

        Items are told by the number that Nexus gave each, not by where it lists them.
        """
        job = self._jobs.read(remote_id)
        if job is None:
            if items is None:
                raise ProtocolError(f"Nexus knows no job {remote_id}", code=404)
            for position in dict.fromkeys(items):
                yield position, MissingResult(reason=f"Nexus no longer has the job {remote_id}", permanent=True)
            return
        handles = wire.handles_of(job)
        sent = self._sent.get(remote_id)
        if sent is not None and sent != tuple(handle.program_id for handle in handles):
            raise ProtocolError(f"the items of job {remote_id} are not in the order in which they were sent")
        yield from self._downloads.stream(remote_id, handles, items)

    def watch(
        self, remote_id: RemoteId, *, timeout_s: float, changed: Callable[[Snapshot], None] = lambda _: None
    ) -> Snapshot | None:
        """Wait for one job by Nexus's status socket, or by polling where there is none: as `StatusSocket.wait`."""
        status_socket = StatusSocket(
            url=self.url,
            tokens=self._tokens,
            context=self._tls,
            read=self._read_one,
            sleep=self._sleep,
            monotonic=self._monotonic,
        )
        return status_socket.wait(remote_id, timeout_s=timeout_s, changed=changed)

    def _read_one(self, remote_id: RemoteId) -> Snapshot | None:
        answer = self.status([remote_id]).get(remote_id)
        if isinstance(answer, QJobsError):
            raise answer
        return answer

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """Ask for the cancellation of a whole job: Nexus cancels no single items."""
        self._jobs.cancel(remote_id)
        logger.info("%s: asked to cancel job %s", self.name, remote_id)

    def target(self) -> Target:
        """Read the device from Nexus's list of devices; its size is None where it is not in it."""
        return target_in(self._http.read("GET", DEVICES), self.device, config_of(self.device, self._config, None))

    def estimate(self, batch: Batch) -> float | None:
        """The cost of a batch in HQC on an H-series machine or its emulator, by the published formula.

        0 on a syntax checker; None for a compile job, for a circuit of other gates than native ones, and for devices
        that Nexus bills by time, or by what a program does.
        """
        config = config_of(self.device, self._config, None)
        return estimate_hqc(self.device, config, batch, lambda program: self._templates.of(program).circuit)

    @property
    def pricing(self) -> Pricing:
        """In HQC, by the published formula where the device has one."""
        return pricing_of(self.device, config_of(self.device, self._config, None))

    def why_not_started(self, kind: JobKind) -> str:
        """Ask whether the account's quota of compilation, or of simulation where Nexus itself runs it, is used up.

        Nexus has no quota for what runs outside of it, on a machine or on its maker's emulator, and shows no HQC that
        are left: of these nothing can be told. https://docs.quantinuum.com/nexus/user_guide/concepts/quotas.html
        """
        if kind is JobKind.COMPILE:
            name = "compilation"
        elif is_hosted(config_of(self.device, self._config, None)):
            name = "simulation"
        else:
            return ""
        if self._user_id is None:
            self._user_id = wire.text(self._http.read("GET", wire.ME), "data", "id")
        asked = {"name": name, "user_id": self._user_id}
        answer = self._http.read("GET", wire.QUOTA_GUARD, params=asked, proves_refusal=wire.says_no_quota)
        if not isinstance(answer, Refusal):
            return ""
        return (
            f"the account's quota {name} is used up; it goes on when the next month begins, or when an admin of the "
            "organization gives more"
        )

    def link(self, remote_id: RemoteId) -> str | None:
        """None: Nexus publishes no address of the page of a job."""
        return None

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._fan_out.close()
        self._http.close()
        self._tokens.close()
