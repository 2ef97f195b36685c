"""The kernels of a model: which ones a policy acts on, and how they are seen."""
