"""What is done with jobs, from a plan to its results. Every operation may be entered again."""
