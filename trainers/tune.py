"""Search settings: `ray submit cluster.yaml trainers/tune.py`, or run it on one machine."""

import sys

from ganforge.commands.cli import main

if __name__ == "__main__":
    main(["tune", *sys.argv[1:]])
