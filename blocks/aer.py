"""The block for the Aer simulator."""

from __future__ import annotations

from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, model_validator

from blocks.fields import only_known
from qjobs.backends.aer import AerBackend as Adapter
from qjobs.backends.aer import AerMethod, NoiseSpec

LOGO_URL: Any = (
    "https://raw.githubusercontent.com/PrefectHQ/prefect/420d0d6a78bb6df1fc18bcf188fdad43c1d22ea9/"
    "assets/block-logos/webhook.png"
)


class AerBackend(Block):
    """The Aer simulator on this machine: it really simulates, in worker processes, and needs no account.

    Example:
        Load a saved block and open its backend:
        ```python
        from blocks import AerBackend

        block = AerBackend.load("BLOCK_NAME")
        backend = block.get_backend()
        ```
    """

    _block_type_name: ClassVar[str] = "Aer Backend"
    _block_type_slug: ClassVar[str] = "aer-backend"
    _documentation_url: ClassVar[Any] = "https://qiskit.github.io/qiskit-aer/"
    _logo_url: ClassVar[Any] = LOGO_URL
    _description: ClassVar[str] = "Runs circuits on the Aer simulator in worker processes of this machine."
    _only_known = model_validator(mode="before")(only_known)

    device: str = Field(
        default="aer_simulator", description="Name of the simulated device, as jobs are filed under it."
    )
    method: AerMethod = Field(
        default=AerMethod.AUTOMATIC, description="Simulation method; automatic lets Aer choose one for each circuit."
    )
    n_workers: int | None = Field(
        default=None, ge=1, description="Number of worker processes; as many as there are CPUs if empty."
    )
    max_qubits: int | None = Field(
        default=None, ge=1, description="The most qubits that a circuit may have; what the method can hold if empty."
    )
    depolarizing_1q: float = Field(default=0.0, ge=0, le=1, description="Depolarizing parameter of one-qubit gates.")
    depolarizing_2q: float = Field(default=0.0, ge=0, le=1, description="Depolarizing parameter of two-qubit gates.")
    readout_error: float = Field(default=0.0, ge=0, le=1, description="Probability that a measured bit is flipped.")
    t1_us: float | None = Field(
        default=None,
        gt=0,
        description="T1 in microseconds, in which qubits decay while a delay lasts; they do not if empty.",
    )
    t2_us: float | None = Field(
        default=None,
        gt=0,
        description="T2 in microseconds, in which phases are lost while a delay lasts; twice T1 if empty.",
    )

    def get_backend(self) -> Adapter:
        """Open the backend, a new one at each call; close it when done, or let the process end."""
        noise = NoiseSpec(
            depolarizing_1q=self.depolarizing_1q,
            depolarizing_2q=self.depolarizing_2q,
            readout=self.readout_error,
            t1_us=self.t1_us,
            t2_us=self.t2_us,
        )
        return Adapter(
            device=self.device,
            method=self.method,
            n_workers=self.n_workers,
            max_qubits=self.max_qubits,
            noise=noise if noise != NoiseSpec() else None,
        )
