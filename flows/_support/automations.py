"""Messages about what needs a person, as automations of Prefect: a failed run, a job in doubt, parked or stalled.

`make deploy NOTIFY=...` makes them, and the block that they send through. NOTIFY is the webhook of a Slack channel, the
address of any other service that takes JSON, a URL of Apprise (https://github.com/caronc/apprise/wiki) such as
`mailto://USER:PASSWORD@HOST?to=ME@HOST`, or the name of a saved notification block, as in `sendgrid-email/NAME`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.orchestration import SyncPrefectClient
from pydantic import SecretStr

from qjobs.errors import InvalidInput

__all__ = ["AUTOMATIONS", "Automation", "channel_of", "put_automations"]

_BLOCK = "qjobs-notify"
"""Name of the block that is made of a URL."""
_SAVED = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")
_QUIET = timedelta(minutes=10)
"""After a message about a device, or a run, there is none of the same kind about it for so long."""
_JOB = (
    "{{ event.resource['prefect.resource.name'] }} of {{ event.resource['qjobs.experiment'] }} on "
    "{{ event.resource['qjobs.device'] }} ({{ event.resource['qjobs.backend'] }}): {{ event.payload['detail'] }}"
)
_ID = "{{ event.resource['prefect.resource.id'] | replace('qjobs.job.', '') }}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Automation:
    """A message that is sent when one of the events `expect` happens.

    `for_each` are labels of the event: of those that have the same, one within ten minutes is told.
    """

    name: str
    description: str
    expect: tuple[str, ...]
    subject: str
    body: str
    for_each: tuple[str, ...]
    match_related: tuple[tuple[str, str], ...] = ()


AUTOMATIONS = (
    Automation(
        name="qjobs: a run failed",
        description="A run of a deployment of qjobs failed or crashed.",
        expect=("prefect.flow-run.Failed", "prefect.flow-run.TimedOut", "prefect.flow-run.Crashed"),
        subject="{{ flow_run.name }} ({{ flow.name }}): {{ flow_run.state.name }}",
        body="{{ flow_run.state.message }}\n{{ flow_run | ui_url }}\nWhat was sent is in the ledger; a run that "
        "crashed is started again by the sensor.",
        for_each=("prefect.resource.id",),
        match_related=(("prefect.resource.id", "prefect.tag.qjobs"), ("prefect.resource.role", "tag")),
    ),
    Automation(
        name="qjobs: jobs are parked",
        description="A provider cannot be asked for jobs, or refuses the credentials. The jobs stay what they were.",
        expect=("qjobs.job.parked",),
        subject="parked: jobs on {{ event.resource['qjobs.device'] }}",
        body=_JOB + "\nNothing is lost: the job is asked for again. See: qjobs doctor",
        for_each=("qjobs.backend", "qjobs.device"),
    ),
    Automation(
        name="qjobs: a job is UNKNOWN",
        description="The reply to a submission was lost, so that it is not known whether the job exists.",
        expect=("qjobs.job.unknown", "qjobs.job.lost"),
        subject="{{ event.payload['new'] }}: a job on {{ event.resource['qjobs.device'] }}",
        body=_JOB + f"\nLook it up with: qjobs reconcile; or see: qjobs jobs show {_ID}",
        for_each=("qjobs.backend", "qjobs.device"),
    ),
    Automation(
        name="qjobs: a job is stalled",
        description="A job takes far longer than its device usually does, or a run has reached its deadline.",
        expect=("qjobs.job.stalled", "qjobs.job.deadline"),
        subject="late: a job on {{ event.resource['qjobs.device'] }}",
        body=_JOB + f"\nSee: qjobs jobs show {_ID}",
        for_each=("qjobs.backend", "qjobs.device"),
    ),
)


def channel_of(notify: str) -> Block | str | None:
    """What messages are sent through: a block that is still to be saved, or the name of one that is; None for "".

    Raises:
        InvalidInput: It is no URL that messages can be sent to, or there is no such block. The message does not repeat
            the URL, which may have a secret in it.
    """
    if not notify:
        return None
    if _SAVED.fullmatch(notify):
        return _saved(notify)
    scheme, host = _parts(notify)
    if scheme in {"http", "https"} and not re.fullmatch(r"hooks\.slack(-gov)?\.com", host):
        if not host:
            raise _unusable("the address names no host")
        return CustomWebhookNotificationBlock.model_validate(
            {
                "name": _BLOCK,
                "url": "{{address}}",
                "json_data": {"title": "{{subject}}", "text": "{{body}}"},
                "secrets": {"address": notify},
            }
        )
    from apprise import Apprise

    if not Apprise().add(notify):
        what = (
            "no webhook of Slack" if scheme in {"http", "https"} else f"no URL of Apprise that begins with {scheme}://"
        )
        raise _unusable(f"it is {what}" if scheme else "it is neither a URL nor the name of a block")
    return SlackWebhook(url=SecretStr(notify))  # whose URL may be any that Apprise knows


def _parts(notify: str) -> tuple[str, str]:
    try:
        found = urlsplit(notify if "://" in notify else "")
    except ValueError:
        return "", ""
    return found.scheme, found.hostname or ""


def _saved(name: str) -> str:
    try:
        block = Block.load(name)
    except ValueError as error:
        raise _unusable(f"there is no block {name}; save it in the UI first") from error
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        raise _unusable(f"the block {name} cannot be read: {type(error).__name__}: {error}") from error
    if not hasattr(block, "notify"):
        raise _unusable(f"the block {name} sends no messages")
    return name


def _unusable(why: str) -> InvalidInput:
    return InvalidInput(
        f"NOTIFY cannot be used: {why}. Give the webhook of a Slack channel, an https:// address that takes JSON, a "
        "URL of Apprise such as mailto://USER:PASSWORD@HOST?to=ME@HOST, or the name of a notification block as in "
        "sendgrid-email/NAME",
        field="NOTIFY",
    )


def put_automations(client: SyncPrefectClient, channel: Block | str) -> Sequence[str]:
    """Make the automations, or bring those that are there up to date; a line of each.

    One that a person turned off stays off.
    """
    if isinstance(channel, Block):
        channel.save(_BLOCK, overwrite=True)
        name = f"{channel.get_block_type_slug()}/{_BLOCK}"
    else:
        name = channel
    kind, _, document = name.partition("/")
    path = {"slug": kind, "block_document_name": document}
    block = client.request(
        "GET", "/block_types/slug/{slug}/block_documents/name/{block_document_name}", path_params=path
    ).json()
    known: dict[str, dict[str, Any]] = {}
    wanted = {"automations": {"name": {"any_": [each.name for each in AUTOMATIONS]}}}
    for found in client.request("POST", "/automations/filter", json=wanted).json():
        known.setdefault(found["name"], found)
    lines = []
    for each in AUTOMATIONS:
        body = _body(each, block["id"])
        old = known.get(each.name)
        if old is None:
            client.request("POST", "/automations/", json=body)
        else:
            body["enabled"] = old["enabled"]
            client.request("PUT", "/automations/{id}", path_params={"id": old["id"]}, json=body)
        lines.append(f"message by {name}: {each.name}")
    return lines


def _body(automation: Automation, block: str) -> dict[str, Any]:
    return {
        "name": automation.name,
        "description": automation.description,
        "enabled": True,
        "trigger": {
            "type": "event",
            "posture": "Reactive",
            "expect": list(automation.expect),
            "for_each": list(automation.for_each),
            "match_related": dict(automation.match_related),
            "threshold": 1,
            "within": _QUIET.total_seconds(),
        },
        "actions": [
            {
                "type": "send-notification",
                "block_document_id": block,
                "subject": automation.subject,
                "body": automation.body,
            }
        ],
    }
