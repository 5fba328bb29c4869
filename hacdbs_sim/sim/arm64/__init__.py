"""The arm64 side: stage 2, HDBSS entries, HACDBS units, the accelerated clear, faults."""
