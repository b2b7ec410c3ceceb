"""The Munich Quantum Portal: its job database, and what is built on it."""
