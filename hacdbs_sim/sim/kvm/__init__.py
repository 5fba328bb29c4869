"""The generic side: memslots, accesses, the dirty log, software cleaning."""
