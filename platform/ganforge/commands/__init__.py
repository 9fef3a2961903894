"""The command line: options in, an exit code out. One file a command."""
