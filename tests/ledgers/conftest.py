"""The script is a record that later versions cannot import: no doctests are looked for in it."""

collect_ignore = ["write_ledger.py"]
