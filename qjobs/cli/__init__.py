"""The command `qjobs`."""
