"""The block for the ledger."""

from __future__ import annotations

from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, model_validator

from blocks.aer import LOGO_URL
from blocks.fields import only_known
from qjobs.ledger import Ledger as LedgerDatabase
from qjobs.paths import ledger_url


class Ledger(Block):
    """Where jobs, attempts, results and events are kept: SQLite for one person, PostgreSQL for a team.

    Example:
        Load a saved block and open the ledger:
        ```python
        from blocks import Ledger

        block = Ledger.load("BLOCK_NAME")
        ledger = block.get_ledger()
        ```
    """

    _block_type_name: ClassVar[str] = "Ledger"
    _block_type_slug: ClassVar[str] = "ledger"
    _documentation_url: ClassVar[Any] = "https://docs.sqlalchemy.org/en/20/core/engines.html"
    _logo_url: ClassVar[Any] = LOGO_URL
    _description: ClassVar[str] = "The ledger of all remote jobs."
    _only_known = model_validator(mode="before")(only_known)

    url: SecretStr | None = Field(
        default=None,
        description="The database, as sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/NAME; "
        "that of QJOBS_LEDGER, or a file in your data directory, if empty.",
    )

    def get_ledger(self) -> LedgerDatabase:
        """Open the ledger, a new object at each call; close it when done, or let the process end."""
        return LedgerDatabase(self.url.get_secret_value() if self.url is not None else ledger_url())
