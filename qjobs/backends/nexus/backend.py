"""Quantinuum Nexus, or a service that speaks as it does (`qjobs serve`).

A job is named `<prefix><key>`, so that one whose reply was lost is found by its exact name. Programs are uploaded
first, which may be repeated; then one POST makes the job. Nothing here depends on the list of jobs but finding
by name: jobs that the list does not tell of are asked for by their ids.
"""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import httpx

from qjobs.backends.base import Limits, LostReply, MissingResult, RemoteJob, Snapshot, Target, nothing
from qjobs.backends.http import HttpClient, tls_context
from qjobs.backends.limiter import Limiter
from qjobs.backends.nexus import wire
from qjobs.backends.nexus.devices import DEVICES, config_of, target_in
from qjobs.backends.nexus.programs import Templates
from qjobs.backends.nexus.projects import KEY_PROPERTY, Projects
from qjobs.backends.nexus.results import Downloads
from qjobs.backends.nexus.threads import Fan, Recent
from qjobs.backends.nexus.tokens import NexusAuth, NexusTokens, find_refresh_token
from qjobs.backends.nexus.watch import Watch
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
from qjobs.model import Batch, ItemResult, ItemSpec, JobKind, Key, ProgramHash, RemoteId

__all__ = ["NexusBackend"]

NEXUS_URL = "https://nexus.quantinuum.com"
_MAX_ITEMS = 300
"""Circuits a job: https://docs.quantinuum.com/nexus/trainings/notebooks/basics/jobs.html."""
_MAX_SHOTS = 10_000
"""Shots a circuit on Quantinuum's machines and their emulators: the same. Simulators set limits of their own."""
_OPEN_WORDS = ("SUBMITTED", "QUEUED", "RUNNING")
_PAGE = 100
_FEW = 4
"""Fewer jobs than these, or than the list had pages, are asked for by their ids, which tells of their items too."""
_LIST_TIMEOUT = httpx.Timeout(10.0, read=30.0)
_LIST_PAUSE_S = 60.0
"""How long the list is left alone after it failed: it has failed for days while jobs could be asked for by id."""
_RENEW_LEASE_S = 15.0

ProgramKey = tuple[ProgramHash, tuple[tuple[str, float], ...]]


class NexusBackend:
    """A device behind Quantinuum Nexus.

    Args:
        device: `Aer`, `H1-1E`, ... as Nexus names it.
        url: Where Nexus is.
        project: Name of the project that jobs are put into; made if there is none.
        name: Name that jobs are filed under. Two accounts need two names.
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
        max_per_s: The most requests a second, sustained, of all backends of this `name`; None for any.
        limiter: Another limiter than the process's own for this account.
        sleep: How to pause.
        monotonic: Clock.
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
        is_machine = config_of(device, config or {}, None)["type"] in {"QuantinuumConfig", "HeliosConfig"}
        self.name, self.device = name, device
        self.limits = limits or Limits(max_items=_MAX_ITEMS, max_shots=_MAX_SHOTS if is_machine else None)
        self.poll_interval_s, self.settle_s, self.url = poll_interval_s, settle_s, url
        self._project_name, self._prefix, self._user_group, self._region = project, prefix, user_group, region
        self._max_cost, self._config = max_cost, dict(config or {})
        self._sleep, self._monotonic, self._tls = sleep, monotonic, tls_context(verify)
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
        self._fan = Fan()
        self._templates = Templates()
        self._uploaded: Recent[ProgramKey, str] = Recent(10_000)
        self._last: Recent[RemoteId, JobStatus] = Recent(10_000)
        self._projects = Projects(self._http, project)
        self._downloads = Downloads(
            self._http, self._fan, no_results=device.upper().endswith("SC"), monotonic=monotonic
        )
        self._list_again_at, self._list_pages = 0.0, 1

    # --- submitting -----------------------------------------------------------------------------------

    def submit(
        self, batch: Batch, key: Key, created: Callable[[RemoteId], None], sending: Callable[[], None] = nothing
    ) -> None:
        """As the protocol says."""
        try:
            project = self._projects.made()
            programs = self._upload(batch, project.project_id, sending)
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
        body = wire.job_body(
            name=f"{self._prefix}{key}",
            description=batch.name,
            properties={KEY_PROPERTY: key} if project.has_property else {},
            project_id=project.project_id,
            job_type=str(batch.kind),
            definition=self._definition(batch, [programs[_key_of(item)] for item in batch.items]),
        )
        try:
            answer = self._http.submit(wire.JOBS, json=body, sending=sending)
        except SubmissionRejected:
            self._uploaded.forget(programs)  # perhaps Nexus no longer knows one of them
            self._projects.forget()
            raise
        try:
            remote_id = RemoteId(wire.text(answer, "data", "id"))
        except ProtocolError as error:
            raise SubmissionUnknown(f"{self.name} accepted something and answered no id: {error}") from error
        created(remote_id)
        self._last.put(remote_id, JobStatus.SUBMITTED)

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

    def _upload(self, batch: Batch, project_id: str, sending: Callable[[], None]) -> dict[ProgramKey, str]:
        """The id of each program of a batch, uploaded where it was not before; the lease is kept meanwhile."""
        wanted = {_key_of(item): item for item in batch.items}
        known = {each: found for each in wanted if (found := self._uploaded.get(each)) is not None}
        renewed_at = self._monotonic()

        def tick() -> None:
            nonlocal renewed_at
            if self._monotonic() - renewed_at >= _RENEW_LEASE_S:
                sending()
                renewed_at = self._monotonic()

        def post(item: ItemSpec) -> str:
            return self._post_program(batch, item, project_id)

        new = {each: item for each, item in wanted.items() if each not in known}
        for each, program_id in zip(new, self._fan.out(post, new.values(), tick), strict=True):
            self._uploaded.put(each, program_id)
            known[each] = program_id
        return known

    def _post_program(self, batch: Batch, item: ItemSpec, project_id: str) -> str:
        template = self._templates.of(batch.programs[item.program])
        circuit = template.unbound if batch.kind is JobKind.COMPILE else template.bound(dict(item.parameters))
        body = wire.circuit_body(circuit, name=item.label or item.program[:12], project_id=project_id)
        return wire.text(self._http.read("POST", wire.CIRCUITS, content=body), "data", "id")

    # --- looking up -----------------------------------------------------------------------------------

    def find(self, key: Key) -> RemoteId | None:
        """As the protocol says."""
        name = f"{self._prefix}{key}"
        for job in self._pages({"filter[name_exact]": name, **wire.OLDEST_FIRST}):
            if wire.member(job, "attributes", "name") == name:
                return RemoteId(wire.text(job, "id"))
        return None

    def remote_jobs(self) -> list[RemoteJob] | None:
        """As the protocol says; those of the project."""
        known = self._projects.known()
        if known is None:
            return []
        found = []
        for job in self._pages({"filter[name_fuzzy]": self._prefix, "filter[project][id]": known.project_id}):
            name = wire.member(job, "attributes", "name")
            if not isinstance(name, str) or not name.startswith(self._prefix) or name == self._prefix:
                continue
            items = wire.member(job, "attributes", "definition", "items")
            found.append(
                RemoteJob(
                    remote_id=RemoteId(wire.text(job, "id")),
                    key=Key(name.removeprefix(self._prefix)),
                    n_items=len(items) if isinstance(items, list) else None,
                )
            )
        return found

    def _pages(self, params: Mapping[str, Any], **options: Any) -> Iterator[Mapping[str, Any]]:
        """The jobs that a filter lets through, page by page."""
        number, n_pages = 0, None
        while n_pages is None or number < n_pages:
            shown = {**wire.USER, **params, "page[number]": number, "page[size]": _PAGE}
            body = self._http.read("GET", wire.JOBS, params=shown, **options)
            jobs = wire.resources(body)
            if not jobs:
                return
            yield from jobs
            total = wire.member(body, "meta", "total_pages")
            n_pages = total if type(total) is int else None
            number += 1

    # --- status ---------------------------------------------------------------------------------------

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        """As the protocol says; open jobs from the list, others and a few by their ids.

        A job whose status is a word that we do not know keeps the last status that was seen here, and the word. One
        that cannot be told is left out, as long as there is something to tell of the others.
        """
        wanted = list(dict.fromkeys(remote_ids))
        found = self._listed(set(wanted)) if len(wanted) >= max(_FEW, self._list_pages) else {}
        failures: list[BackendUnavailable | ProtocolError] = []
        for remote_id, answer in zip(
            rest := [each for each in wanted if each not in found], self._fan.out(self._asked, rest), strict=True
        ):
            if isinstance(answer, Snapshot):
                found[remote_id] = answer
            elif answer is not None:
                failures.append(answer)
        if failures and not found:
            raise failures[0]
        for remote_id, snapshot in found.items():
            self._last.put(remote_id, snapshot.status)
        return {remote_id: found[remote_id] for remote_id in wanted if remote_id in found}

    def _listed(self, wanted: Collection[RemoteId]) -> dict[RemoteId, Snapshot]:
        """Open jobs, as far as the list tells; nothing while it fails."""
        found: dict[RemoteId, Snapshot] = {}
        if self._monotonic() < self._list_again_at:
            return found
        try:
            known = self._projects.known()
            if known is None:
                return found
            params = {
                "filter[project][id]": known.project_id,
                "filter[name_fuzzy]": self._prefix,
                "filter[status][status]": list(_OPEN_WORDS),
                "sort": "-timestamps.created",
            }
            self._list_pages = 1
            for seen, job in enumerate(self._pages(params, timeout=_LIST_TIMEOUT)):
                self._list_pages = seen // _PAGE + 1
                remote_id = RemoteId(wire.text(job, "id"))
                word = wire.member(job, "attributes", "status", "status")
                if remote_id in wanted and word in _OPEN_WORDS:
                    found[remote_id] = wire.snapshot_of(job, with_items=False)
                if len(found) == len(wanted):
                    break
        except (BackendUnavailable, ProtocolError):
            self._list_again_at = self._monotonic() + _LIST_PAUSE_S
        return found

    def _job(self, remote_id: RemoteId) -> Any:
        return wire.member(self._http.read("GET", _path(remote_id), params=wire.USER, ignore={404}), "data")

    def _asked(self, remote_id: RemoteId) -> Snapshot | BackendUnavailable | ProtocolError | None:
        """One job by its id; None if there is none."""
        try:
            job = self._job(remote_id)
            if job is None:
                return None
            try:
                return wire.snapshot_of(job, with_items=True)
            except ProtocolError as error:
                word, last = wire.member(job, "attributes", "status", "status"), self._last.get(remote_id)
                if last is None or not isinstance(word, str) or word in wire.STATUSES:
                    return error
                return Snapshot(status=last, remote_status=word, message=str(error))
        except (BackendUnavailable, ProtocolError) as error:
            return error

    # --- results and the rest -------------------------------------------------------------------------

    def results(self, remote_id: RemoteId) -> list[ItemResult | MissingResult]:
        """As the protocol says; what was downloaded before an error is not downloaded again."""
        job = self._job(remote_id)
        if job is None:
            raise ProtocolError(f"Nexus knows no job {remote_id}", code=404)
        return self._downloads.of(remote_id, job)

    def watch(
        self, remote_id: RemoteId, *, timeout_s: float, changed: Callable[[Snapshot], None] = lambda _: None
    ) -> Snapshot | None:
        """Wait for one job by Nexus's status socket, or by polling where there is none: `Watch.until_final`."""
        watch = Watch(
            url=self.url,
            tokens=self._tokens,
            context=self._tls,
            ask=lambda each: self.status([each]).get(each),
            sleep=self._sleep,
            monotonic=self._monotonic,
        )
        return watch.until_final(remote_id, timeout_s=timeout_s, changed=changed)

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """As the protocol says; Nexus cancels whole jobs."""
        try:
            self._http.read("POST", f"{_path(remote_id)}/rpc/cancel", params=wire.USER, json={}, ignore={404, 409})
        except ProtocolError:  # the code for a final job is not documented
            now = self._asked(remote_id)
            if not isinstance(now, Snapshot) or not now.status.is_final:
                raise

    def target(self) -> Target:
        """As the protocol says.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: As `status`.
        """
        return target_in(self._http.read("GET", DEVICES), self.device, config_of(self.device, self._config, None))

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._fan.close()
        self._http.close()
        self._tokens.close()


def _path(remote_id: RemoteId) -> str:
    return f"{wire.JOBS}/{urllib.parse.quote(remote_id, safe='')}"


def _key_of(item: ItemSpec) -> ProgramKey:
    """What tells an item's circuit from others: a program with its parameters."""
    return item.program, tuple(sorted(item.parameters))
