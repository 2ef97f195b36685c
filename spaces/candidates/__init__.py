"""Candidates: a policy, how it is trained, and for which base model."""
