"""`python -m app.cli`: the command line of this very installation."""

from app.cli import main

main()
