"""Machines, workers and trials: the only rooms that import ray."""
