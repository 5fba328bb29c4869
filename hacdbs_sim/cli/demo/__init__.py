"""`hacdbs-sim demo`: a migration under every fault, told round by round."""
