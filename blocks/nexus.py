"""The block for Quantinuum Nexus."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator, model_validator

from blocks.aer import LOGO_URL
from blocks.fields import ACCOUNT_JOBS, DEVICE_JOBS, only_known
from qjobs.backends.nexus.backend import NEXUS_URL, limits_of
from qjobs.backends.nexus.backend import NexusBackend as Adapter
from qjobs.backends.nexus.tokens import address_in_environment

_MAX_PER_S = 50.0


class NexusBackend(Block):
    """A device behind Quantinuum Nexus, or behind a service that speaks as it does (`qjobs serve`).

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
    _documentation_url: ClassVar[Any] = "https://docs.quantinuum.com/nexus/"
    _logo_url: ClassVar[Any] = LOGO_URL
    _description: ClassVar[str] = "Sends circuits to the devices and simulators of Quantinuum Nexus."
    _only_known = model_validator(mode="before")(only_known)

    device: str = Field(min_length=1, description="The device as Nexus names it: Aer, H1-1E, H2-1, and so on.")
    url: str = Field(default=NEXUS_URL, description="The address of Nexus, or of a service that speaks as it does.")
    name: str = Field(
        default="nexus",
        min_length=1,
        description="The name that jobs are filed under in the ledger; two accounts need two names.",
    )
    token: SecretStr | None = Field(
        default=None,
        description="The refresh token; that of QJOBS_NEXUS_TOKEN, or the one that qnx login stored here, if empty.",
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
    verify: bool | str = Field(
        default=True,
        description="Whether certificates are verified, or the path of a file with the certificates to trust.",
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
        return Adapter(
            self.device,
            url=self.url,
            project=self.project,
            name=self.name,
            token=self.token.get_secret_value() if self.token is not None else None,
            limits=replace(
                limits_of(self.device, self.config),
                max_live_jobs=self.max_live_jobs,
                max_account_jobs=self.max_account_jobs,
            ),
            user_group=self.user_group,
            region=self.region,
            max_cost=self.max_cost,
            config=self.config,
            verify=self.verify,
            timeout_s=self.timeout_s,
            max_per_s=self.max_per_s or (_MAX_PER_S if self.url.rstrip("/") == NEXUS_URL else None),
        )


def nexus_from_environment(device: str) -> NexusBackend:
    """A device of the Nexus that the environment variables of Quantinuum's client name.

    Jobs at another address than Quantinuum's own are filed under that address.
    """
    url, verify = address_in_environment()
    name = "nexus" if url == NEXUS_URL else f"nexus@{url.partition('://')[2]}"
    return NexusBackend(device=device, url=url, name=name, verify=verify)
