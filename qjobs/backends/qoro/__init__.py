"""Qoro's cloud, by its REST interface."""
