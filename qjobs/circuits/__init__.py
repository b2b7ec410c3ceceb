"""Circuits: reading, checking, hashing, converting and building them, and their observables."""
