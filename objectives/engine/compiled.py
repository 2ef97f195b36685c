"""One stage of one model, traced once: set, train, read, as often as there are trials."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.data.rows import Rows
from paretune.objectives.engine.graph import StageGraph
from paretune.objectives.keras_door import tf
from paretune.objectives.kernels.weights import LayerWeights
from paretune.objectives.pipeline.distillation import distillation_for
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.optimizers import build_optimizer, learning_rates
from paretune.objectives.pipeline.stages import AtWork, StageTask
from paretune.objectives.pipeline.training_data import TrainingData, batch_indices
from paretune.spaces.candidates.stage_recipes import StageRecipe

#: How long the graph runs between two looks at the limit, and how much data is handed to it at a time.
_SECONDS_A_RUN = 0.3
_BYTES_A_RUN = 64 * 2**20
_FIRST_RUN_STEPS = 8


class StatefulKernel(Exception):
    """A graph draws random numbers from a state that cannot be set, so that trials would depend on each other."""


class CompiledStage:
    """A stage whose steps run in one function of a fixed signature.

    All its variables go back to where they were after tracing before each task: optimizer slots, ranges, random
    generators. What a task decides is set on top of that, so that no trial can feel another.

    Args:
        graph: The wrapped model.
        data: What to train on.
        recipe: Names the optimizer and the batch size, and whether there is a teacher; others of these need a stage of
            their own.

    Raises:
        StatefulKernel: The model draws random numbers in a way that cannot be repeated.
    """

    def __init__(self, graph: StageGraph, data: TrainingData, recipe: StageRecipe) -> None:
        self._graph = graph
        self._data = data
        self._model = graph.model
        self._distillation = distillation_for(recipe, data.teacher)
        self._optimizer = build_optimizer(recipe, recipe.learning_rate)
        self._optimizer.build(self._model.trainable_variables)
        self._model.compile(optimizer=self._optimizer, loss=list(data.losses))
        signature = self._signature(recipe.batch_size_for(data.samples))
        self._sample_bytes = data.sample_bytes + sum(4 * (each.shape[1:].num_elements() or 0) for each in self._answers)
        self._steps = tf.function(self._run_steps, input_signature=signature, autograph=False)
        traced = self._steps.get_concrete_function()
        _require_repeatable(traced)
        self._read = tf.function(graph.effective, autograph=False)
        self._flat = [variable for own in graph.variables.values() for variable in own]
        self._reset = _resetter(_unique([*traced.graph.variables, *self._optimizer.variables]), self._flat)
        self._generators = _generators(traced)
        self._seconds_a_step = 0.0

    def run(self, task: StageTask, weights: LayerWeights, meter: Meter, at_work: AtWork) -> LayerWeights:
        """Train one task from ``weights``.

        Raises:
            Infeasible: The loss became NaN or infinite.
            LimitReached: The meter's limit was spent first.
        """
        self._reset([array for own in weights.values() for array in own])
        for number, generator in enumerate(self._generators):
            state = np.random.SeedSequence([task.seed, number]).generate_state(generator.shape[0], np.uint64)
            generator.assign(state.view(np.int64))
        self._graph.decide(task, weights)
        taught = self._taught(task.recipe, meter, at_work)
        batch_size = task.recipe.batch_size_for(self._data.samples)
        order = batch_indices(self._data.samples, batch_size, task.steps, task.seed)
        rates = learning_rates(task.recipe, task.steps)
        done = 0
        while done < task.steps:
            meter.check()
            count = int(min(self._steps_a_run(batch_size), task.steps - done, meter.steps_left))
            batches = self._batches(order[done : done + count], taught)
            with at_work():
                started = time.perf_counter()
                losses = self._steps(tf.constant(rates[done : done + count]), *batches).numpy()
                seconds = time.perf_counter() - started
            self._seconds_a_step = seconds / count
            meter.step_seconds += seconds
            meter.count(losses.tolist(), stage=task.stage, step=done)
            done += count
        return {name: [tensor.numpy() for tensor in own] for name, own in self._read().items()}

    def _steps_a_run(self, batch_size: int) -> int:
        steps = int(_SECONDS_A_RUN / self._seconds_a_step) if self._seconds_a_step else _FIRST_RUN_STEPS
        return max(1, min(steps, _BYTES_A_RUN // (self._sample_bytes * batch_size)))

    @property
    def _answers(self) -> Sequence[Any]:
        """The symbolic outputs that a teacher's answers are compared with; none where nobody teaches."""
        return () if self._distillation is None else self._model.outputs

    def _taught(self, recipe: StageRecipe, meter: Meter, at_work: AtWork) -> Sequence[Rows]:
        """Return the teacher's answers, and set how much they count; nothing where nobody teaches."""
        if self._distillation is None or self._data.teacher is None:
            return ()
        self._distillation.decide(recipe)
        return self._data.teacher.answers(meter, at_work)

    def _arrays(self, taught: Sequence[Any]) -> Iterator[Any]:
        yield from self._data.inputs
        yield from self._data.targets
        yield from taught
        if self._data.sample_weights is not None:
            yield self._data.sample_weights

    def _batches(self, indices: NDArray[np.int64], taught: Sequence[Rows]) -> list[Any]:
        """Return the rows of every array, shape (steps, batch size, ...)."""
        return [
            tf.constant(array[indices.reshape(-1)].reshape(*indices.shape, *array.shape[1:]))
            for array in self._arrays(taught)
        ]

    def _signature(self, batch_size: int) -> list[Any]:
        # of a known batch size, as in tfmot's flow: a division by a known number of elements is rounded otherwise
        arrays = self._arrays(self._answers)
        batches = [tf.TensorSpec((None, batch_size, *array.shape[1:]), array.dtype) for array in arrays]
        return [tf.TensorSpec((None,), tf.float32), *batches]

    def _run_steps(self, rates: Any, *batches: Any) -> Any:
        """Take a step for every rate and batch; return the losses, shape (steps,)."""
        count = tf.size(rates)

        def take(step: Any, losses: Any) -> tuple[Any, Any]:
            loss = self._step(rates[step], [array[step] for array in batches])
            return step + 1, losses.write(step, loss)

        _, losses = tf.while_loop(
            lambda step, losses: step < count, take, (0, tf.TensorArray(tf.float32, count)), parallel_iterations=1
        )
        return losses.stack()

    def _step(self, rate: Any, batch: list[Any]) -> Any:
        """Do what ``keras.Model.train_step`` does, and what the stage adds."""
        model, rest = self._model, iter(batch)
        inputs = tuple(islice(rest, len(self._data.inputs)))
        targets = tuple(islice(rest, len(self._data.targets)))
        taught = tuple(islice(rest, len(self._answers)))
        sample_weight = next(rest, None)
        self._optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            if self._distillation is None:
                loss = model.compute_loss(inputs, targets, outputs, sample_weight)
            else:
                loss = self._distillation.loss(model, targets, taught, outputs, sample_weight)
        self._optimizer.minimize(loss, model.trainable_variables, tape=tape)
        self._graph.after_step()
        return loss


def _resetter(variables: list[Any], weights: list[Any]) -> Callable[[list[NDArray[np.float32]]], None]:
    """Return a function that sets ``weights`` and brings all other ``variables`` back to what they are now."""
    given = {variable.ref() for variable in weights}
    others = [variable for variable in variables if variable.ref() not in given]
    values = [variable.numpy() for variable in others]
    is_zero = [not np.any(value) for value in values]
    kept = [value for value, zero in zip(values, is_zero, strict=True) if not zero]

    def assign(new: list[Any], constants: list[Any]) -> None:
        for variable, value in zip(weights, new, strict=True):
            variable.assign(value)
        remaining = iter(constants)
        for variable, zero in zip(others, is_zero, strict=True):
            variable.assign(tf.zeros(variable.shape, variable.dtype) if zero else next(remaining))

    compiled = tf.function(assign, autograph=False)
    constants = [tf.constant(value) for value in kept]
    return lambda new: compiled([tf.constant(array) for array in new], constants)


def _unique(variables: list[Any]) -> list[Any]:
    return list({variable.ref(): variable for variable in variables}.values())


def _generators(traced: Any) -> list[Any]:
    """Return the states of Keras' random generators, in the order in which the graph draws from them.

    ``graph.variables`` comes in another order in every process, so that layers would swap their random numbers.
    """
    found = [each for each in traced.graph.variables if each.dtype == tf.int64 and "StateVar" in each.name]
    captured = {id(handle): place for place, handle in enumerate(traced.captured_inputs)}
    return sorted(found, key=lambda generator: captured[id(generator.handle)])


def _require_repeatable(traced: Any) -> None:
    """Raise where a graph holds a kernel that draws numbers from a state of its own."""
    definition = traced.graph.as_graph_def()
    operations = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    drawn = sorted({node.op for node in operations if node.op in _STATEFUL_RANDOM})
    if drawn:
        raise StatefulKernel(f"the model draws random numbers with {', '.join(drawn)}")


#: Kernels of TensorFlow that draw random numbers from a state that no variable holds.
_STATEFUL_RANDOM: Mapping[str, None] = dict.fromkeys(
    (
        "Multinomial",
        "ParameterizedTruncatedNormal",
        "RandomGamma",
        "RandomPoissonV2",
        "RandomShuffle",
        "RandomStandardNormal",
        "RandomUniform",
        "RandomUniformInt",
        "TruncatedNormal",
    )
)
