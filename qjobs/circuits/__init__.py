"""Circuits: reading, checking, hashing, converting and building them; observables of them."""
