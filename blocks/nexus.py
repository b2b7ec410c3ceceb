"""The blocks for Quantinuum Nexus: an account, and a device that it may use."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator, model_validator

from blocks.aer import LOGO_URL
from blocks.fields import ACCOUNT_JOBS, DEVICE_JOBS, only_known, with_account
from qjobs.backends.nexus.backend import NEXUS_URL, limits_of
from qjobs.backends.nexus.backend import NexusBackend as Adapter
from qjobs.backends.nexus.tokens import address_in_environment
from qjobs.redaction import without_userinfo

_MAX_PER_S = 50.0
_DOCUMENTATION_URL = "https://docs.quantinuum.com/nexus/"


class NexusCredentials(Block):
    """An account at Quantinuum Nexus, or at a service that speaks as it does (`qjobs serve`).

    Example:
        Load saved credentials, and give them to a block of a device:
        ```python
        from blocks import NexusCredentials

        credentials = NexusCredentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name: ClassVar[str] = "Nexus Credentials"
    _block_type_slug: ClassVar[str] = "nexus-credentials"
    _documentation_url: ClassVar[Any] = _DOCUMENTATION_URL
    _logo_url: ClassVar[Any] = LOGO_URL
    _description: ClassVar[str] = "An account at Quantinuum Nexus."
    _only_known = model_validator(mode="before")(only_known)

    url: str = Field(default=NEXUS_URL, description="The address of Nexus, or of a service that speaks as it does.")
    token: SecretStr | None = Field(
        default=None,
        description="The refresh token; that of QJOBS_NEXUS_TOKEN, or the one that qnx login stored here, if empty.",
    )
    verify: bool | str = Field(
        default=True,
        description="Whether certificates are verified, or the path of a file with the certificates to trust.",
    )


class NexusBackend(Block):
    """A device of Quantinuum Nexus, with the account that may use it; that of the environment if it has none.

    Example:
        Load a saved block and open its backend:
        ```python
        from blocks import NexusBackend

        block = NexusBackend.load("BLOCK_NAME")
        backend = block.get_backend()
        ```
    """

    _block_type_name: ClassVar[str] = "Nexus Backend"
    _block_type_slug: ClassVar[str] = "nexus-backend"
    _documentation_url: ClassVar[Any] = _DOCUMENTATION_URL
    _logo_url: ClassVar[Any] = LOGO_URL
    _description: ClassVar[str] = "Sends circuits to the devices and simulators of Quantinuum Nexus."
    _with_account = model_validator(mode="before")(with_account)

    credentials: NexusCredentials = Field(default_factory=NexusCredentials, description="The account at Nexus.")
    device: str = Field(min_length=1, description="The device as Nexus names it: Aer, H1-1E, H2-1, and so on.")
    name: str = Field(
        default="nexus",
        min_length=1,
        description="The name that jobs are filed under in the ledger; two accounts need two names.",
    )
    project: str = Field(
        default="qjobs", min_length=1, description="The project that jobs are put into; it is made if there is none."
    )
    user_group: str | None = Field(
        default=None, description="The group that is billed; the default of the account if empty."
    )
    region: Literal["us", "sg"] | None = Field(
        default=None, description="The region where jobs run; that of Nexus itself if empty."
    )
    max_cost: float | None = Field(
        default=None, gt=0, description="The most that one circuit may cost, in HQC; no cap if empty."
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="Further fields of the configuration of the device in Nexus, such as noisy_simulation: false.",
    )
    timeout_s: float = Field(default=120.0, gt=0, description="How long an answer may take, in seconds.")
    max_live_jobs: int | None = Field(default=None, ge=1, description=DEVICE_JOBS)
    max_account_jobs: int | None = Field(default=None, ge=1, description=ACCOUNT_JOBS)
    max_per_s: float | None = Field(
        default=None,
        gt=0,
        description="The most requests a second, sustained, for this account, over all processes of one ledger; if "
        "empty, 50 to Quantinuum, and no limit to a service of your own.",
    )

    @field_validator("config")
    @classmethod
    def _without_our_fields(cls, value: dict[str, Any]) -> dict[str, Any]:
        taken = sorted({"device_name", "seed"} & set(value))
        if taken:
            raise ValueError(f"{' and '.join(taken)} come from the device and from the run; leave them out")
        return value

    def get_backend(self) -> Adapter:
        """Open the backend, a new one at each call; close it when done, or let the process end."""
        account = self.credentials
        return Adapter(
            self.device,
            url=account.url,
            project=self.project,
            name=self.name,
            token=account.token.get_secret_value() if account.token is not None else None,
            limits=replace(
                limits_of(self.device, self.config),
                max_live_jobs=self.max_live_jobs,
                max_account_jobs=self.max_account_jobs,
            ),
            user_group=self.user_group,
            region=self.region,
            max_cost=self.max_cost,
            config=self.config,
            verify=account.verify,
            timeout_s=self.timeout_s,
            max_per_s=self.max_per_s or (_MAX_PER_S if account.url.rstrip("/") == NEXUS_URL else None),
        )


def nexus_from_environment(device: str) -> NexusBackend:
    """A device of the Nexus that the environment variables of Quantinuum's client name.

    Jobs at another address than Quantinuum's own are filed under that address.
    """
    url, verify = address_in_environment()
    name = "nexus" if url == NEXUS_URL else f"nexus@{without_userinfo(url).partition('://')[2]}"
    return NexusBackend(device=device, credentials=NexusCredentials(url=url, verify=verify), name=name)
