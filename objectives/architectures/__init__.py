"""Models that are built for the search: declared, built, trained once, and evaluated each for its hyperparameters."""
