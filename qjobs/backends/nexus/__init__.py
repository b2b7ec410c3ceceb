"""Quantinuum Nexus, by its REST interface and its web socket."""

from qjobs.backends.nexus.backend import NexusBackend

__all__ = ["NexusBackend"]
