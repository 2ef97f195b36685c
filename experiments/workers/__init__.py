"""Processes that evaluate apart from the coordinator."""
