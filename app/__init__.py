"""hacdbs-sim: simulated KVM/arm64 virtual machines with an accelerated dirty log, over REST."""
