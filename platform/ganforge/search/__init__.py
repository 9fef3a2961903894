"""One study: its space, journal, trials, strategy and report, executed by Ray Tune."""
