"""Other people's samplers, asked for advice: Optuna's and Keras Tuner's."""
