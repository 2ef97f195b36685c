"""The stages compiled once per model: every decision of a policy is a variable of a graph that is traced once."""
