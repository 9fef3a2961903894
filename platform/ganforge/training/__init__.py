"""The one training loop, its workers, its state and what identifies it."""
