"""Models from the outside, checked at the door."""
