"""Train one configuration; `python trainers/train.py SYSTEM --help`, or `ray submit` it."""

import sys

from ganforge.commands.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
