"""Policies: what may be decided about a model, and what was decided."""
