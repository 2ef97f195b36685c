"""How to look: samplers, the driver, the Pareto front."""
