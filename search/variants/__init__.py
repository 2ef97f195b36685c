"""Searching the model, or the recipe, together with policies."""
