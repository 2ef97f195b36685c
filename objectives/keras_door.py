"""The one door to Keras: nobody else imports TensorFlow, tf_keras or tfmot.

tfmot 0.8 accepts only tf_keras (Keras 2) models, and picks it by an environment variable that must be set before
TensorFlow is first imported. Whoever starts a process for Keras work sets it; here it is only checked, because
changing the environment of a process that may already use Keras 3 would break that process.
"""

import os

if os.environ.get("TF_USE_LEGACY_KERAS") != "1":
    raise RuntimeError("TF_USE_LEGACY_KERAS=1 must be set before Keras work starts; Paretune's workers do so.")

import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

__all__ = ["keras", "limit_threads", "tf", "tfmot"]


def limit_threads(threads: int) -> None:
    """Let TensorFlow compute with this many threads in this process; it must not have computed anything yet.

    Raises:
        RuntimeError: TensorFlow has been used before.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
