"""What a Python program or a notebook holds: compress a model, open a run, take a trial of its front."""
