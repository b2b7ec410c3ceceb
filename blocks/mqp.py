"""The blocks for the Munich Quantum Portal: an account, and a resource that it may use."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, model_validator

from blocks.aer import LOGO_URL
from blocks.fields import ACCOUNT_JOBS, only_known
from qjobs.backends.mqp import MqpBackend as Adapter
from qjobs.backends.mqp import PortalLogin
from qjobs.backends.mqp.backend import MQP_URL
from qjobs.backends.mqp.environment import TOKEN, max_per_s_at, poll_interval_s_at
from qjobs.model import Limits

_DOCUMENTATION_URL = "https://pypi.org/project/mqp-client/"


class MqpCredentials(Block):
    """An account at the Munich Quantum Portal, or at a service that speaks as it does (`qjobs serve`).

    Example:
        Load saved credentials, and give them to a block of a resource:
        ```python
        from blocks import MqpCredentials

        credentials = MqpCredentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name: ClassVar[str] = "MQP Credentials"
    _block_type_slug: ClassVar[str] = "mqp-credentials"
    _documentation_url: ClassVar[Any] = _DOCUMENTATION_URL
    _logo_url: ClassVar[Any] = LOGO_URL
    _description: ClassVar[str] = "An account at the Munich Quantum Portal."
    _only_known = model_validator(mode="before")(only_known)

    url: str = Field(
        default=MQP_URL, description="The address of the portal's interface, or of a service that speaks as it does."
    )
    token: SecretStr | None = Field(
        default=None, description="The token that was made at the portal; that of QJOBS_MQP_TOKEN if empty."
    )
    identity: str | None = Field(
        default=None,
        description="The name to sign in to the portal itself with; a lost submission is then looked for in its list.",
    )
    secret: SecretStr | None = Field(default=None, description="The password that belongs to the identity.")
    portal_url: str | None = Field(
        default=None, description="The address below which the portal itself has /login and /jobs."
    )
    verify: bool | str = Field(
        default=True,
        description="Whether certificates are verified, or the path of a file with the certificates to trust.",
    )

    @model_validator(mode="after")
    def _login_is_whole(self) -> MqpCredentials:
        given = [bool(self.identity), self.secret is not None, bool(self.portal_url)]
        if any(given) and not all(given):
            raise ValueError("identity, secret and portal_url belong together; give all three, or none of them")
        return self

    def current_token(self) -> str:
        """The token of the block, or that of the environment; empty if there is none."""
        return self.token.get_secret_value() if self.token is not None else os.environ.get(TOKEN, "")

    def login(self) -> PortalLogin | None:
        """The login to the portal itself, if there is one."""
        if not self.identity or self.secret is None or not self.portal_url:
            return None
        return PortalLogin(identity=self.identity, secret=self.secret.get_secret_value(), url=self.portal_url)


class MqpBackend(Block):
    """A resource of the Munich Quantum Portal, with the account that may use it.

    Example:
        Load a saved block and open its backend:
        ```python
        from blocks import MqpBackend

        block = MqpBackend.load("BLOCK_NAME")
        backend = block.get_backend()
        ```
    """

    _block_type_name: ClassVar[str] = "MQP Backend"
    _block_type_slug: ClassVar[str] = "mqp-backend"
    _documentation_url: ClassVar[Any] = _DOCUMENTATION_URL
    _logo_url: ClassVar[Any] = LOGO_URL
    _description: ClassVar[str] = "Sends circuits to the resources of the Munich Quantum Portal."
    _only_known = model_validator(mode="before")(only_known)

    credentials: MqpCredentials = Field(description="The account at the portal.")
    resource: str = Field(min_length=1, description="The resource as the portal names it.")
    name: str = Field(
        default="mqp",
        min_length=1,
        description="The name that jobs are filed under in the ledger; two accounts need two names.",
    )
    queued: bool = Field(
        default=False,
        description="Whether a job may be sent while the resource is offline; the portal keeps it for up to a day.",
    )
    no_modify: bool = Field(default=False, description="Whether the resource has to run the circuits as they are.")
    max_circuits: int = Field(default=100, ge=1, description="The most circuits in one job.")
    max_shots: int | None = Field(default=None, ge=1, description="The most shots of a circuit; no limit if empty.")
    max_live_jobs: int = Field(
        default=2, ge=1, description="The most jobs at a time; the portal schedules two of a user on a resource."
    )
    max_account_jobs: int | None = Field(default=None, ge=1, description=ACCOUNT_JOBS)
    timeout_s: float = Field(
        default=120.0, ge=120.0, description="How long the answer to a submission may take, in seconds."
    )
    rate: float | None = Field(
        default=None,
        ge=0,
        description="What a shot of a circuit costs, in budget units, for estimates and caps; the portal tells none.",
    )
    max_per_s: float | None = Field(
        default=None,
        gt=0,
        description="The most requests a second, sustained, for this account, over all processes of one ledger; if "
        "empty, 10 to the portal itself, and no limit to a service of your own.",
    )

    def get_backend(self) -> Adapter:
        """Open the backend, a new one at each call; close it when done, or let the process end."""
        account = self.credentials
        return Adapter(
            self.resource,
            url=account.url,
            token=account.current_token,
            portal=account.login(),
            verify=account.verify,
            name=self.name,
            queued=self.queued,
            no_modify=self.no_modify,
            limits=Limits(
                max_items=self.max_circuits,
                max_shots=self.max_shots,
                max_live_jobs=self.max_live_jobs,
                max_account_jobs=self.max_account_jobs,
                one_n_shots=True,
            ),
            timeout_s=self.timeout_s,
            rate=self.rate,
            poll_interval_s=poll_interval_s_at(account.url),
            max_per_s=self.max_per_s or max_per_s_at(account.url),
        )
