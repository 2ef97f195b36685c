"""A run on disk: its folder, its ledger, what it was begun with, and the search over it."""
