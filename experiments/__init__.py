"""The world: experiment files, run folders, worker processes, MLflow, the terminal."""
