"""Repairs that need no training: equalised ranges, corrected biases, fresh BatchNorm statistics."""
