"""Prune, cluster, quantize: the training stages."""
