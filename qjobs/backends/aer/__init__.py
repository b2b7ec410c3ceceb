"""The Aer simulator: an adapter, and what it is made of, for others who simulate on this machine.

Public are the names below; everything else in this package may change.

- `AerBackend`, with `AerMethod` and `NoiseSpec`: the adapter. Jobs in, results out, in worker processes.
- `engine`: circuits in; counts, shots, expectation values, states and unitaries out. It computes in the
  calling process, in one thread.
- `noise_model`: a `NoiseSpec` as Aer's own noise model.
- `WorkerPool` with `Call`, `CallLimits`, `WorkerEnded` and `OverTime`: worker processes with Aer imported, which end
  with their parent.

Importing this package imports neither qiskit nor Aer nor loky.
"""

from qjobs.backends.aer import engine
from qjobs.backends.aer.backend import AerBackend
from qjobs.backends.aer.engine import AerMethod
from qjobs.backends.aer.noise import NoiseSpec, noise_model
from qjobs.backends.aer.pool import Call, CallLimits, OverTime, WorkerEnded, WorkerPool

__all__ = [
    "AerBackend",
    "AerMethod",
    "Call",
    "CallLimits",
    "NoiseSpec",
    "OverTime",
    "WorkerEnded",
    "WorkerPool",
    "engine",
    "noise_model",
]
