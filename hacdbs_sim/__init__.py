"""hacdbs-sim: what users import."""
