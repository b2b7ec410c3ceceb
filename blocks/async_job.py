"""The block for an object with the protocol `AsyncJobBackend` of Qoro's Divi."""

from __future__ import annotations

from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, model_validator

from blocks.aer import LOGO_URL
from blocks.fields import ACCOUNT_JOBS, DEVICE_JOBS, only_known
from qjobs.backends.async_job import AsyncJob, object_of
from qjobs.model import Limits


class AsyncJobBackend(Block):
    """An object with Divi's protocol `AsyncJobBackend`, made by a function that its package has registered.

    Example:
        Load a saved block and open its backend:
        ```python
        from blocks import AsyncJobBackend

        block = AsyncJobBackend.load("BLOCK_NAME")
        backend = block.get_backend()
        ```
    """

    _block_type_name: ClassVar[str] = "AsyncJob Backend"
    _block_type_slug: ClassVar[str] = "async-job-backend"
    _documentation_url: ClassVar[Any] = "https://pypi.org/project/qoro-divi/"
    _logo_url: ClassVar[Any] = LOGO_URL
    _description: ClassVar[str] = "Sends circuits through an object with the protocol AsyncJobBackend of Divi."
    _only_known = model_validator(mode="before")(only_known)

    factory: str = Field(
        description="The name of what makes the object, registered in the entry-point group qjobs.async_jobs."
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="The arguments of it, as JSON. Never a secret: it reads its credentials from the environment.",
    )
    name: str = Field(
        min_length=1,
        description="The name that jobs are filed under: one for each server and account, never changed.",
    )
    device: str = Field(default="", description="The machine behind it; the name if empty.")
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="What else changes the meaning of a result, as JSON: a noise model, a mitigation.",
    )
    max_items: int = Field(default=100, ge=1, description="The most circuits of one job.")
    max_live_jobs: int | None = Field(default=None, ge=1, description=DEVICE_JOBS)
    max_account_jobs: int | None = Field(default=None, ge=1, description=ACCOUNT_JOBS)

    def get_backend(self) -> AsyncJob:
        """Open the backend, with a new object at each call.

        Raises:
            InvalidInput: Nothing of that name is registered, it does not take the arguments, or what it makes is no
                such object, or one that is known to send twice.
        """
        return AsyncJob(
            object_of(self.factory, self.arguments),
            name=self.name,
            device=self.device,
            settings=self.settings,
            limits=Limits(
                max_items=self.max_items,
                max_live_jobs=self.max_live_jobs,
                max_account_jobs=self.max_account_jobs,
            ),
        )
