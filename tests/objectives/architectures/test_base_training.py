"""Base models of either Keras are built and trained, or it is said why not."""

import hashlib
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from paretune.objectives.architectures.base_training import train_base
from paretune.objectives.architectures.hypermodel import Hypermodel
from paretune.objectives.data.dataset import Dataset, Samples
from paretune.objectives.keras_door import keras, tf
from paretune.objectives.measure.turnstile import Turnstile
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.errors import Infeasible, ModelRefused

pytestmark = [
    pytest.mark.tensorflow,
    # Variables of Keras 3 predate the copy keyword of NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

SETTINGS = EvaluatorSettings(model="m:build", data="", beside="", base_epochs=2, base_batch_size=16)


def samples(rows, inputs=1, weights=None):
    generator = np.random.default_rng(rows)
    x = tuple(generator.normal(size=(rows, 4)).astype(np.float32) for _ in range(inputs))
    return Samples(x, (generator.integers(0, 3, rows).astype(np.int32),), weights)


DATA = Dataset(train=samples(40), validation=samples(20), test=samples(20))


def library_of(kind):
    if kind == "keras":
        import keras as keras_3

        return keras_3
    return keras


def classifier(library, hp):
    layers = library.layers
    model = library.Sequential(
        [library.Input((4,)), layers.Dense(hp.Choice("units", [4, 8])), layers.Dropout(0.3), layers.Dense(3)]
    )
    model.compile("adam", library.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def train(named, values=None, data=DATA, settings=SETTINGS, turnstile=None):
    return train_base(Hypermodel("m:build", named), values or {}, data, settings, turnstile or Turnstile(None))


def weights_digest(model):
    return hashlib.sha256(b"".join(array.tobytes() for array in model.get_weights())).hexdigest()


@pytest.mark.parametrize("kind", ["tf_keras", "keras"])
def test_models_of_either_keras_are_trained_and_their_steps_counted(kind):
    untrained = classifier(library_of(kind), Hypermodel("m:build", lambda hp: None).build({}, 0)[0])
    trained = train(lambda hp: classifier(library_of(kind), hp), {"units": 8})
    assert trained.training_steps == 2 * 3  # 40 rows are three batches
    assert trained.seconds > 0
    assert trained.declared == {"units": 8}
    assert trained.model.layers[0].units == 8
    assert type(trained.model) is type(untrained)
    before = Hypermodel("m:build", lambda hp: classifier(library_of(kind), hp)).build({"units": 8}, 0)[1]
    assert any(
        (one != other).any() for one, other in zip(before.get_weights(), trained.model.get_weights(), strict=True)
    )


REPEATED = """
import sys
from tests.objectives.architectures.test_base_training import classifier, library_of, train, weights_digest
for kind in sys.argv[1:]:
    print(kind, weights_digest(train(lambda hp: classifier(library_of(kind), hp)).model))
"""


def digests_of(*kinds):
    """Train one model after the other in a process of its own, as a worker does."""
    done = subprocess.run(
        [sys.executable, "-c", REPEATED, *kinds], capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.slow  # several processes that each import TensorFlow
def test_another_process_and_another_time_give_the_same_weights():
    found = digests_of("keras", "tf_keras") + digests_of("tf_keras", "tf_keras", "keras", "keras")
    for kind in ("keras", "tf_keras"):
        digests = [digest for each, digest in found if each == kind]
        assert len(digests) == 3
        assert len(set(digests)) == 1


def test_another_seed_gives_other_weights():
    other = EvaluatorSettings(model="", data="", beside="", base_epochs=2, base_batch_size=16, seed=1)
    digests = [
        weights_digest(train(lambda hp: classifier(library_of("keras"), hp), settings=each).model)
        for each in (SETTINGS, other)
    ]
    assert digests[0] != digests[1]


def hypermodel_with(fit):
    from keras_tuner import HyperModel

    class Mine(HyperModel):
        def build(self, hp):
            return classifier(keras, hp)

    Mine.fit = fit
    return Mine()


def test_a_fit_of_the_users_own_gets_what_keras_tuner_would_give_it():
    seen = {}

    def fit(self, hp, model, x, y, validation_data, callbacks, **arguments):
        seen.update(arguments, rows=len(x), held_out=validation_data)
        assert hp.get("units") == 4
        return model.fit(x, y, validation_data=validation_data, callbacks=callbacks, **arguments)

    weights = np.ones(40, np.float32)
    trained = train(hypermodel_with(fit), data=Dataset(train=samples(40, weights=weights), **held_out()))
    assert (seen["rows"], seen["epochs"], seen["batch_size"], seen["verbose"]) == (40, 2, 16, 0)
    assert (seen["sample_weight"] == weights).all()
    assert [len(part) for part in seen["held_out"]] == [20, 20]
    assert trained.training_steps == 2 * 3


def test_what_is_drawn_while_building_does_not_change_what_is_drawn_while_training():
    drawn = []

    def fit(self, hp, model, *args, **kwargs):
        drawn.append((np.random.random(), float(tf.random.uniform(()))))

    hypermodel = hypermodel_with(fit)
    build = hypermodel.build

    def build_and_draw(hp):
        if not drawn:
            drawn.append((np.random.random(), float(tf.random.uniform(()))))
        return build(hp)

    hypermodel.build = build_and_draw
    for _ in range(2):
        train(hypermodel)
    assert drawn[1] == drawn[2]


def held_out():
    return {"validation": DATA.validation, "test": DATA.test}


def test_a_fit_of_the_users_own_may_choose_epochs_and_batch_size_itself():
    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, batch_size=hp.Choice("batch_size", [20, 40]), epochs=3, **kwargs)

    trained = train(hypermodel_with(fit))
    assert trained.training_steps == 3 * 2
    assert trained.declared == {"units": 4, "batch_size": 20}


@pytest.mark.parametrize("kind", ["tf_keras", "keras"])
def test_rows_without_weight_are_not_learnt_from(kind):
    def constant(hp):
        library = library_of(kind)
        model = library.Sequential([library.Input((4,)), library.layers.Dense(3, kernel_initializer="zeros")])
        model.compile("sgd", library.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    nothing = Dataset(train=samples(40, weights=np.zeros(40, np.float32)), **held_out())
    assert not any(array.any() for array in train(constant, data=nothing).model.get_weights())
    assert any(array.any() for array in train(constant).model.get_weights())


@pytest.mark.parametrize("kind", ["tf_keras", "keras"])
def test_inputs_by_name_get_the_arrays_that_are_theirs(kind):
    def build(hp):
        library = library_of(kind)
        inputs = {name: library.Input((4,), name=name) for name in ("zebra", "ape")}
        # only the one that is 0 reaches the output: its kernel stays where it was
        hidden = library.layers.Dense(3, kernel_initializer="zeros", use_bias=False, name="read")(inputs["ape"])
        unused = library.layers.Dense(3, kernel_initializer="zeros", trainable=False)(inputs["zebra"])
        model = library.Model(inputs, {"label": library.layers.Add(name="label")([hidden, unused])})
        model.compile("sgd", {"label": library.losses.SparseCategoricalCrossentropy(from_logits=True)})
        return model

    order = [tensor.name for tensor in build(None).inputs]
    x, y = samples(40).inputs[0], samples(40).targets
    zeros = np.zeros_like(x)
    both = tuple(zeros if name == "ape" else x for name in order)
    data = Dataset(train=Samples(both, y), **held_out())
    assert not train(build, data=data).model.get_layer("read").get_weights()[0].any()
    swapped = Dataset(train=Samples(both[::-1], y), **held_out())
    assert train(build, data=swapped).model.get_layer("read").get_weights()[0].any()


def test_a_model_that_is_not_compiled_is_refused():
    def build(hp):
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])

    with pytest.raises(ModelRefused, match=r"must return a compiled model: call model\.compile"):
        train(build)


def test_training_that_diverges_or_raises_is_infeasible():
    def diverging(hp):
        model = classifier(keras, hp)
        model.compile(keras.optimizers.SGD(1e30), "mse")
        return model

    with pytest.raises(Infeasible, match="weights that are not finite"):
        train(diverging)

    def unfit(hp):
        model = classifier(keras, hp)
        model.compile("adam", keras.losses.CategoricalCrossentropy())
        return model

    with pytest.raises(Infeasible, match=r"^training raised ValueError: Shapes \(None, 1\) and") as caught:
        train(unfit)
    assert "\n" not in str(caught.value)


def raising(error):
    def fit(self, hp, model, *args, **kwargs):
        raise error

    return hypermodel_with(fit)


def test_too_large_a_batch_is_infeasible_and_says_what_to_lower():
    with pytest.raises(Infeasible, match=r"ran out of memory; lower base_batch_size \(no room\)"):
        train(raising(tf.errors.ResourceExhaustedError(None, None, "no room")))


def test_a_process_without_memory_is_no_fault_of_the_hyperparameters():
    with pytest.raises(MemoryError):
        train(raising(MemoryError()))


def test_an_argument_that_its_fit_misuses_is_not_tried_for_ever():
    with pytest.raises(Infeasible, match="multiple values for keyword argument 'shuffle'"):
        train(raising(TypeError("fit() got multiple values for keyword argument 'shuffle'")))


class CountingTurnstile:
    def __init__(self):
        self.entered = self.left = 0

    @contextmanager
    def working(self):
        self.entered += 1
        try:
            yield
        finally:
            self.left += 1


@pytest.mark.parametrize("kind", ["tf_keras", "keras"])
def test_others_can_measure_between_two_batches(kind):
    turnstile = CountingTurnstile()
    train(lambda hp: classifier(library_of(kind), hp), turnstile=turnstile)
    assert turnstile.entered == turnstile.left == 6
