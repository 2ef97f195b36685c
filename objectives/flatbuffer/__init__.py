"""The exported file as plain values: its graph, its kernels, its metadata, and what it holds of a policy."""
