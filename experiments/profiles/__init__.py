"""The profile of a model: what each decision costs alone, kept, drawn and told."""
