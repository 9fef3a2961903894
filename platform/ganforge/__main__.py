"""`python -m ganforge`: the command line."""

from ganforge.cli import main

main()
