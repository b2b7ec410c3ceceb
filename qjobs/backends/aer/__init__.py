"""The Aer simulator, in worker processes of this process."""

from qjobs.backends.aer.backend import AerBackend

__all__ = ["AerBackend"]
