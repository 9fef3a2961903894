"""`python -m ganforge`: the command line."""

from ganforge.commands.cli import main

main()
