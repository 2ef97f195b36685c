"""What a policy costs: training, export and measurement of Keras models."""
