"""What a model is for: its loss, its metric, and how its outputs are read."""
