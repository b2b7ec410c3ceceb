"""Prefect flows: what people run, from the command line, from Prefect's UI or on a schedule."""
