"""A shipped kit for those who test an adapter of their own.

- `contract`: the protocol as tests, `BackendContract`.
- `servers`: a small scripted provider that really runs circuits; `RestBackend` is its adapter.
- `proxy`: a proxy in front of a service that speaks as Nexus does.
- `faults`: what can go wrong at either, one rule at a time.
"""
