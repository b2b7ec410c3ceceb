"""The blocks for a provider behind the reference REST interface: an account, and what runs there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, model_validator

from blocks.aer import LOGO_URL
from blocks.fields import ACCOUNT_JOBS, DEVICE_JOBS, only_known, with_account
from qjobs.backends.rest import LIMITS, LostReply
from qjobs.backends.rest import RestBackend as Adapter


class RestCredentials(Block):
    """An account at a provider behind the reference REST interface.

    Example:
        Load saved credentials, and give them to a block of the provider:
        ```python
        from blocks import RestCredentials

        credentials = RestCredentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name: ClassVar[str] = "REST Credentials"
    _block_type_slug: ClassVar[str] = "rest-credentials"
    _documentation_url: ClassVar[Any] = "https://www.python-httpx.org/"
    _logo_url: ClassVar[Any] = LOGO_URL
    _description: ClassVar[str] = "An account at a provider behind the reference REST interface."
    _only_known = model_validator(mode="before")(only_known)

    url: str = Field(description="The address of the provider, such as http://127.0.0.1:8000.")
    token: SecretStr | None = Field(default=None, description="Bearer token; none is sent if empty.")


class RestBackend(Block):
    """A provider behind the small REST interface of `qjobs.testing.servers`: the reference adapter.

    Example:
        Load a saved block and open its backend:
        ```python
        from blocks import RestBackend

        block = RestBackend.load("BLOCK_NAME")
        backend = block.get_backend()
        ```
    """

    _block_type_name: ClassVar[str] = "REST Backend"
    _block_type_slug: ClassVar[str] = "rest-backend"
    _documentation_url: ClassVar[Any] = "https://www.python-httpx.org/"
    _logo_url: ClassVar[Any] = LOGO_URL
    _description: ClassVar[str] = "Sends circuits to a provider behind the reference REST interface."
    _with_account = model_validator(mode="before")(with_account)

    credentials: RestCredentials = Field(description="The account at the provider.")
    lost_reply: LostReply = Field(
        default=LostReply.OPAQUE,
        description="What can be done at this provider when the reply to a submission is lost.",
    )
    timeout_s: float = Field(default=30.0, gt=0, description="How long an answer may take, in seconds.")
    max_live_jobs: int | None = Field(default=None, ge=1, description=DEVICE_JOBS)
    max_account_jobs: int | None = Field(default=None, ge=1, description=ACCOUNT_JOBS)
    max_per_s: float | None = Field(
        default=None,
        gt=0,
        description="The most requests a second, sustained, over all processes of one ledger; no limit if empty.",
    )

    def get_backend(self) -> Adapter:
        """Open the backend, a new one at each call; close it when done, or let the process end."""
        account = self.credentials
        token = account.token.get_secret_value if account.token is not None else None
        return Adapter(
            account.url,
            lost_reply=self.lost_reply,
            limits=replace(LIMITS, max_live_jobs=self.max_live_jobs, max_account_jobs=self.max_account_jobs),
            timeout_s=self.timeout_s,
            token=token,
            max_per_s=self.max_per_s,
        )
