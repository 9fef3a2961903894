"""What this package raises at its user: one family, whose messages are complete without a type."""


class GanforgeError(Exception):
    """Whatever the package refuses or cannot do; a mistake in its own code is another exception."""


class TrainingFailed(GanforgeError, RuntimeError):
    """A run ended with an error; the message is one line."""
