"""Paretune's own sampler: profile, solve, learn, and try on the cheapest rung first."""
