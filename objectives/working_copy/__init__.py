"""The user's model, rewritten so that every layer can be reached."""
