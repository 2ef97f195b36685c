"""Models that Keras 3 wrote, as models of tf_keras that compute the same."""
