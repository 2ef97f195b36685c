"""What the user writes: experiment files and policy files."""
