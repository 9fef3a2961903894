"""What MLflow has not confirmed yet: written to disk first, sent from there, never lost."""
