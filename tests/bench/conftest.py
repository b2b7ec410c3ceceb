"""What pytest leaves alone here: it has no tests, and needs a package that `make bench-mqp` installs."""

collect_ignore = ["pony_replica.py"]
