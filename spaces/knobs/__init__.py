"""The knobs, one file each: which values there are, in which order, and which of them a layer can have."""
