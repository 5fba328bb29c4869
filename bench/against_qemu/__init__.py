"""Real migrations of QEMU, beside the same migrations simulated."""
