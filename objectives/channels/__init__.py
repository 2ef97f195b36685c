"""Structured pruning: which channels belong together, which of them go, and what that does to the weights."""
