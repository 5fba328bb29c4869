"""Scenarios as documents: how files are read, and the builtin ones (the bug-replay pack)."""
