"""Adapters: one module per provider, each with one total status table."""
