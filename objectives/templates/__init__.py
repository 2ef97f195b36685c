"""A model converted once: a float32 ``.tflite`` file into which any weights of the same architecture are written."""
