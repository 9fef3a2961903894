"""What a person will look at later: the only rooms that import mlflow."""
