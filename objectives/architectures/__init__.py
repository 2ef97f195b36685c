"""The models of a hypermodel: built, trained once, and evaluated each for its hyperparameters."""
