"""`hacdbs-sim demo`: a migration under every type of fault."""
