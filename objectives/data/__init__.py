"""The data of an experiment, checked at the door."""
