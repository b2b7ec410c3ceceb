"""The local job service: many users, real compilation and simulation, the wire protocols of real providers."""
