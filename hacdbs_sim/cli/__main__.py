"""`python -m hacdbs_sim.cli`: the command line of this very installation."""

from hacdbs_sim.cli import main

main()
