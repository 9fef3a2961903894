"""The command line, run in this process."""

import pytest

from ganforge.commands.cli import main


def ganforge(*arguments: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)
