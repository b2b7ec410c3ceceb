"""The blocks for Qoro: an account, and a simulator cluster or a system of QPUs that it may use."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, model_validator

from blocks.aer import LOGO_URL
from blocks.fields import ACCOUNT_JOBS, DEVICE_JOBS, only_known
from qjobs.backends.qoro import QoroBackend as Adapter
from qjobs.backends.qoro import TargetKind
from qjobs.backends.qoro.backend import QORO_URL
from qjobs.backends.qoro.environment import API_KEY, max_per_s_at, poll_interval_s_at
from qjobs.model import Limits

_DOCUMENTATION_URL = "https://pypi.org/project/qoro-divi/"


class QoroCredentials(Block):
    """An account at Qoro, or at a service that speaks as it does (`qjobs serve`).

    Example:
        Load saved credentials, and give them to a block of a target:
        ```python
        from blocks import QoroCredentials

        credentials = QoroCredentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name: ClassVar[str] = "Qoro Credentials"
    _block_type_slug: ClassVar[str] = "qoro-credentials"
    _documentation_url: ClassVar[Any] = _DOCUMENTATION_URL
    _logo_url: ClassVar[Any] = LOGO_URL
    _description: ClassVar[str] = "An account at Qoro."
    _only_known = model_validator(mode="before")(only_known)

    url: str = Field(
        default=QORO_URL, description="The address of Qoro's interface, or of a service that speaks as it does."
    )
    api_key: SecretStr | None = Field(
        default=None, description="The API key that was made at Qoro; that of QORO_API_KEY if empty."
    )
    verify: bool | str = Field(
        default=True,
        description="Whether certificates are verified, or the path of a file with the certificates to trust.",
    )

    def current_key(self) -> str:
        """The key of the block, or that of the environment; empty if there is none."""
        return self.api_key.get_secret_value() if self.api_key is not None else os.environ.get(API_KEY, "")


class QoroBackend(Block):
    """A simulator cluster or a system of QPUs of Qoro, with the account that may use it.

    Example:
        Load a saved block and open its backend:
        ```python
        from blocks import QoroBackend

        block = QoroBackend.load("BLOCK_NAME")
        backend = block.get_backend()
        ```
    """

    _block_type_name: ClassVar[str] = "Qoro Backend"
    _block_type_slug: ClassVar[str] = "qoro-backend"
    _documentation_url: ClassVar[Any] = _DOCUMENTATION_URL
    _logo_url: ClassVar[Any] = LOGO_URL
    _description: ClassVar[str] = "Sends circuits to the simulators and QPUs of Qoro."
    _only_known = model_validator(mode="before")(only_known)

    credentials: QoroCredentials = Field(description="The account at Qoro.")
    target: str = Field(min_length=1, description="The simulator cluster or the system of QPUs as Qoro lists it.")
    kind: TargetKind | None = Field(
        default=None, description="Which of the two the target is; looked up in Qoro's lists if empty."
    )
    name: str = Field(
        default="qoro",
        min_length=1,
        description="The name that jobs are filed under in the ledger; two accounts need two names.",
    )
    packing: bool = Field(default=False, description="Whether Qoro may run several circuits on one QPU at a time.")
    max_circuits: int = Field(default=1000, ge=1, description="The most circuits in one job.")
    max_shots: int | None = Field(default=None, ge=1, description="The most shots of a circuit; no limit if empty.")
    max_live_jobs: int | None = Field(default=None, ge=1, description=DEVICE_JOBS)
    max_account_jobs: int | None = Field(default=None, ge=1, description=ACCOUNT_JOBS)
    timeout_s: float = Field(
        default=120.0, ge=100.0, description="How long the answer to a step of a submission may take, in seconds."
    )
    settle_s: float = Field(
        default=120.0,
        ge=100.0,
        description="How long a job is waited for that is PENDING after a lost reply, in seconds; then it is "
        "cancelled, and sent anew.",
    )
    rate: float | None = Field(
        default=None,
        ge=0,
        description="What a shot of a circuit costs, in credits, for estimates and caps; Qoro tells none.",
    )
    max_per_s: float | None = Field(
        default=None,
        gt=0,
        description="The most requests a second, sustained, for this account, over all processes of one ledger; if "
        "empty, 10 to Qoro itself, and no limit to a service of your own.",
    )

    def get_backend(self) -> Adapter:
        """Open the backend, a new one at each call; close it when done, or let the process end."""
        account = self.credentials
        return Adapter(
            self.target,
            kind=self.kind,
            url=account.url,
            token=account.current_key,
            verify=account.verify,
            name=self.name,
            packing=self.packing,
            limits=Limits(
                max_items=self.max_circuits,
                max_shots=self.max_shots,
                max_live_jobs=self.max_live_jobs,
                max_account_jobs=self.max_account_jobs,
            ),
            timeout_s=self.timeout_s,
            settle_s=self.settle_s,
            rate=self.rate,
            poll_interval_s=poll_interval_s_at(account.url),
            max_per_s=self.max_per_s or max_per_s_at(account.url),
        )
