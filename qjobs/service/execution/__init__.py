"""How the service runs jobs: queues, workers, compilation and simulation."""
