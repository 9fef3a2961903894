"""MLflow alone: runs, what is recorded in them, and what a person reads of them later."""
