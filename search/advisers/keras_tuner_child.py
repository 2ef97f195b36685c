"""The program of the oracle process: answers for Keras Tuner's oracles, one question after the other.

Started by :mod:`paretune.search.advisers.keras_tuner_process` as ``python -m
paretune.search.advisers.keras_tuner_child FD``. Over the socket FD it sends one JSON object when it is ready, and one
for every question it gets; ``{"error": ...}`` tells that it failed. Every question holds all there is to know, so that
nothing is kept between them.
"""

import contextlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from copy import copy
from functools import partial
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def main() -> None:
    """Serve the process at the other end of the line, until it closes it or is gone."""
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    line = Connection(descriptor)
    questions: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(line, questions), daemon=True, name="listen").start()
    line.send_bytes(_answer(_load))
    while True:
        line.send_bytes(_answer(partial(_reply, questions.get())))


def propose(question: Mapping[str, Any]) -> list[int] | None:
    """Return the value of every parameter that an oracle proposes, or ``None`` where it knows no other.

    Args:
        question: ``oracle``, its ``arguments`` and ``seed``; ``parameters`` as lists of name, number of choices and
            whether neighbouring ones are alike; ``trials`` as lists of values, status and cost, the latter ``None``
            where there is none.
    """
    from keras_tuner.engine.trial import Trial

    oracle = _oracle(question)
    names = [name for name, _, _ in question["parameters"]]
    for number, (values, status, cost) in enumerate(question["trials"]):
        # Put in place as `Oracle.reload` does: `create_trial` would make up values, and write three files a trial.
        hyperparameters = copy(oracle.hyperparameters)  # the parameters shared, the values its own
        hyperparameters.values = dict(zip(names, values, strict=True))
        trial = Trial(hyperparameters, trial_id=str(number), status=status)
        trial.score = cost
        oracle.trials[trial.trial_id] = trial
        oracle._record_values(trial)
        if status == "RUNNING":
            oracle.ongoing_trials[trial.trial_id] = trial
    found = oracle.populate_space(str(len(oracle.trials))).get("values")
    # Hyperband adds how long to train.
    return None if found is None else [int(found[name]) for name in names]


def _oracle(question: Mapping[str, Any]) -> Any:
    from keras_tuner import HyperParameters, Objective
    from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle

    space = HyperParameters()
    for name, choices, is_ordered in question["parameters"]:
        if is_ordered:
            space.Int(name, 0, choices - 1)
        else:
            space.Choice(name, list(range(choices)), ordered=False)
    kinds = {"bayesian": BayesianOptimizationOracle, "hyperband": HyperbandOracle, "random": RandomSearchOracle}
    oracle = kinds[question["oracle"]](
        objective=Objective("cost", "min"), hyperparameters=space, seed=question["seed"], **question["arguments"]
    )
    if question["oracle"] == "bayesian":
        oracle.gpr = QuickRegressor(oracle.gpr)
    return oracle


class QuickRegressor:
    """A fitted Gaussian process that predicts as scikit-learn's does, without checking every point.

    The Bayesian oracle predicts thousands of single points per proposal, to climb by differences, and most of that
    time went into scikit-learn's checks: 24 s of a CPU for 40 parameters and 60 trials, where this takes 4 s.

    References:
        Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, algorithm 2.1.
    """

    def __init__(self, regressor: Any) -> None:
        """Take a ``GaussianProcessRegressor`` that normalises its targets and is not fitted yet."""
        self._regressor = regressor
        self._inverse: FloatArray | None = None
        self._mean, self._scale = 0.0, 1.0

    def fit(self, points: FloatArray, costs: FloatArray) -> None:
        """Fit to ``points`` of shape (trials, parameters) and their ``costs`` of shape (trials,)."""
        self._regressor.fit(points, costs)
        self._inverse = np.linalg.inv(self._regressor.L_)
        self._mean, self._scale = float(costs.mean()), float(costs.std()) or 1.0

    def predict(self, points: FloatArray, return_std: bool) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation at ``points`` of shape (points, parameters), each of shape (points,)."""
        fitted = self._regressor
        if self._inverse is None:
            mean, deviation = fitted.predict(points, return_std=True)
            return mean, deviation
        similarity = fitted.kernel_(fitted.X_train_, points)
        variance = fitted.kernel_.diag(points) - ((self._inverse @ similarity) ** 2).sum(axis=0)
        mean = similarity.T @ fitted.alpha_ * self._scale + self._mean
        return mean, np.sqrt(np.maximum(variance, 0.0)) * self._scale


def _load() -> dict[str, Any]:
    import keras_tuner

    return {"version": keras_tuner.__version__}


def _reply(question: bytes) -> dict[str, Any]:
    return {"values": propose(json.loads(question))}


def _answer(work: Callable[[], Mapping[str, Any]]) -> bytes:
    try:
        return json.dumps(work()).encode()
    except Exception as error:  # whatever it is, the other end has to hear of it
        traceback.print_exc()
        first_line = str(error).strip().partition("\n")[0]
        return json.dumps({"error": f"{type(error).__name__}: {first_line}"}).encode()


def _listen(line: Connection, questions: "SimpleQueue[bytes]") -> None:
    """Pass the questions on; end the process once nobody is left to answer, even in the middle of its work."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            questions.put(line.recv_bytes())
    os._exit(0)


if __name__ == "__main__":
    main()
