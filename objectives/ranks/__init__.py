"""Kernels of low rank: how much a rank keeps, and what training holds a kernel to."""
