"""The functional core: simulated KVM/arm64 machines; numpy and the standard library only."""
