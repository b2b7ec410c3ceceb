"""The Munich Quantum Portal, by its REST interface."""

from qjobs.backends.mqp.backend import MqpBackend
from qjobs.backends.mqp.portal import PortalLogin

__all__ = ["MqpBackend", "PortalLogin"]
