"""Take out of a ``.tflite`` file what a policy leaves out: channels, and the full rank of kernels."""
