"""What leaves a run: the files of one trial, its card, the picture of the front."""
