"""Results: what is measured of a candidate, and what that is held against."""
