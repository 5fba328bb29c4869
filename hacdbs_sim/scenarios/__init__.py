"""Scenarios as documents: how files are read, and those that ship (the bug-replay pack)."""
