"""Models and data from the outside, checked at the door."""
