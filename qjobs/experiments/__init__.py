"""What people ask for: sweeps, lists of circuits, health checks. Pure; nothing here is stored or sent."""
