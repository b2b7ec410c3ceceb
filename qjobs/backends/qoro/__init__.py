"""Qoro's cloud, by its REST interface."""

from qjobs.backends.qoro.backend import QoroBackend
from qjobs.backends.qoro.targets import TargetKind

__all__ = ["QoroBackend", "TargetKind"]
