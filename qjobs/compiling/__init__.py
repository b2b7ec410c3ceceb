"""Compiling circuits for a device, in this process."""
