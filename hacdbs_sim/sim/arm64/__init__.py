"""The arm64 side: stage 2, HACDBS units, the accelerated clear, faults."""
