# Made by scripts/client from ../_async/__init__.py: change that one, and run it.
"""The client with plain methods."""
