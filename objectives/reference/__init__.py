"""The stages as tfmot runs them: one wrapped model and one trace for every stage of every trial."""
