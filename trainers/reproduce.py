"""Train the best recorded run again and prove that it comes out the same."""

import sys

from ganforge.commands.cli import main

if __name__ == "__main__":
    main(["reproduce", *sys.argv[1:]])
