"""Quantinuum Nexus, or a service that speaks as it does (`qjobs serve`).

A job is named `<prefix><key>`, so that one whose reply was lost is found by its exact name. Programs are uploaded
first, which may be repeated; then one POST makes the job.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from qjobs.backends.base import Limits, LostReply, MissingResult, RemoteJob, Snapshot, Target, nothing
from qjobs.backends.http import HttpClient, tls_context
from qjobs.backends.limiter import Limiter
from qjobs.backends.nexus import wire
from qjobs.backends.nexus.devices import DEVICES, config_of, target_in
from qjobs.backends.nexus.fan_out import FanOut
from qjobs.backends.nexus.jobs import Jobs
from qjobs.backends.nexus.projects import KEY_PROPERTY, Project, Projects
from qjobs.backends.nexus.results import Downloads
from qjobs.backends.nexus.status_socket import StatusSocket
from qjobs.backends.nexus.tokens import NexusAuth, NexusTokens, find_refresh_token
from qjobs.backends.nexus.uploads import Uploads
from qjobs.errors import (
    BackendUnavailable,
    InvalidCircuit,
    InvalidInput,
    NotSent,
    ProtocolError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemResult, JobKind, Key, RemoteId

logger = logging.getLogger(__name__)

NEXUS_URL: Final = "https://nexus.quantinuum.com"
_MAX_ITEMS: Final = 300
"""Circuits a job: https://docs.quantinuum.com/nexus/trainings/notebooks/basics/jobs.html."""
_MAX_SHOTS: Final = 10_000
"""Shots a circuit on Quantinuum's machines and their emulators: the same page. Simulators have limits of their own."""
_MACHINES: Final = frozenset({"QuantinuumConfig", "HeliosConfig"})


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
        max_per_s: The most requests a second, sustained, of all backends of this `name`; None for no limit.
        limiter: Another limiter than the one of this process for the account.

    Raises:
        InvalidInput: There is no device, project or prefix, `url` is not a URL, or `verify` not a file of certificates.
    """

    exact_expvals = False
    compiles = True
    outlives_us = True
    cancels_items = False
    lost_reply = LostReply.FINDABLE

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
        max_per_s: float | None = None,
        limiter: Limiter | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not device or not project or not prefix:
            raise InvalidInput("a device, a project and a prefix of names are needed", field="device")
        is_machine = config_of(device, config or {}, None)["type"] in _MACHINES
        self.name = name
        self.device = device
        self.url = url
        self.limits = limits or Limits(max_items=_MAX_ITEMS, max_shots=_MAX_SHOTS if is_machine else None)
        self.poll_interval_s = poll_interval_s
        self.settle_s = settle_s
        self._user_group = user_group
        self._region = region
        self._max_cost = max_cost
        self._config = dict(config or {})
        self._tls = tls_context(verify)
        self._sleep = sleep
        self._monotonic = monotonic
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
        self._fan_out = FanOut()
        self._projects = Projects(self._http, project)
        self._uploads = Uploads(self._http, self._fan_out, monotonic=monotonic)
        self._jobs = Jobs(self._http, self._projects, self._fan_out, prefix=prefix, monotonic=monotonic)
        no_results = device.upper().endswith("SC")  # a syntax checker
        self._downloads = Downloads(self._http, self._fan_out, no_results=no_results, monotonic=monotonic)

    def submit(
        self, batch: Batch, key: Key, created: Callable[[RemoteId], None], sending: Callable[[], None] = nothing
    ) -> None:
        """Upload the programs, then create the job with one POST; its name and a property of it hold the key."""
        project, program_ids = self._prepare(batch, sending)
        body = wire.job_body(
            name=self._jobs.name_of(key),
            description=batch.name,
            properties={KEY_PROPERTY: key} if project.has_property else {},
            project_id=project.project_id,
            job_type=str(batch.kind),
            definition=self._definition(batch, program_ids),
        )
        try:
            answer = self._http.submit(wire.JOBS, json=body, sending=sending)
        except SubmissionRejected:
            self._uploads.forget(batch)  # perhaps Nexus no longer has one of them
            self._projects.forget()
            raise
        try:
            remote_id = RemoteId(wire.text(answer, "data", "id"))
        except ProtocolError as error:
            raise SubmissionUnknown(f"{self.name} accepted something and answered no id: {error}") from error
        created(remote_id)
        self._jobs.remember(remote_id, JobStatus.SUBMITTED)
        logger.info("%s: created job %s of %d items, key %s", self.name, remote_id, len(batch.items), key)

    def _prepare(self, batch: Batch, sending: Callable[[], None]) -> tuple[Project, list[str]]:
        """The project and the ids of the uploaded programs. Whatever fails here, no job was sent."""
        try:
            project = self._projects.find_or_make()
            program_ids = self._uploads.ids_of(batch, project.project_id, sending)
            self._tokens.access()
        except NotSent:
            raise
        except BackendUnavailable as error:
            raise NotSent(f"the job was not sent: {error}", retry_after_s=error.retry_after_s) from error
        except InvalidCircuit as error:
            raise SubmissionRejected(f"the job was not sent: {error}", detail=str(error)) from error
        except ProtocolError as error:
            if error.code is None:
                raise NotSent(f"the job was not sent: {error}") from error
            self._projects.forget()
            raise SubmissionRejected(f"the job was not sent: {error}", detail=str(error)) from error
        return project, program_ids

    def _definition(self, batch: Batch, program_ids: Sequence[str]) -> dict[str, Any]:
        config = config_of(self.device, self._config, batch.options.seed)
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

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        """Read the status of many jobs: open ones from the list, the rest, or just a few, with a request each.

        While Nexus answers a word that we do not know, a job keeps the last status that was seen here.
        """
        return self._jobs.status(remote_ids)

    def results(self, remote_id: RemoteId) -> list[ItemResult | MissingResult]:
        """Download the results of a job; what was downloaded before an error is not downloaded again."""
        job = self._jobs.read(remote_id)
        if job is None:
            raise ProtocolError(f"Nexus knows no job {remote_id}", code=404)
        return self._downloads.results_of(remote_id, job)

    def watch(
        self, remote_id: RemoteId, *, timeout_s: float, changed: Callable[[Snapshot], None] = lambda _: None
    ) -> Snapshot | None:
        """Wait for one job by Nexus's status socket, or by polling where there is none: as `StatusSocket.wait`."""
        status_socket = StatusSocket(
            url=self.url,
            tokens=self._tokens,
            context=self._tls,
            read=lambda each: self.status([each]).get(each),
            sleep=self._sleep,
            monotonic=self._monotonic,
        )
        return status_socket.wait(remote_id, timeout_s=timeout_s, changed=changed)

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """Ask for the cancellation of a whole job: Nexus cancels no single items."""
        self._jobs.cancel(remote_id)
        logger.info("%s: asked to cancel job %s", self.name, remote_id)

    def target(self) -> Target:
        """Read the device from Nexus's list of devices; its size is None where it is not in it."""
        return target_in(self._http.read("GET", DEVICES), self.device, config_of(self.device, self._config, None))

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._fan_out.close()
        self._http.close()
        self._tokens.close()
