"""The profile of a run, from its ledger to its files."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from paretune.experiments.config.experiment import parse_experiment
from paretune.experiments.profiles.grid import grid_groups, grid_inches
from paretune.experiments.profiles.keeping import keep_profile, kept_profile, profile_files
from paretune.experiments.profiles.picture import profile_picture
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.ledger import SqlLedger
from paretune.experiments.runs.run import open_run
from paretune.experiments.runs.run_profile import RunProfile, profile_of
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import Infeasible
from paretune.spaces.policies.policy import LayerPolicy
from paretune.spaces.policies.space import build_space
from paretune.spaces.results.proxy import proxy_of
from tests.experiments.funnel_runs import TEXT, make_run
from tests.fakes import GradualEvaluator, layer_specs
from tests.search.problems import stop_after

LARGE = TEXT.replace("[0, 0.5, 0.8]", "[0, 0.2, 0.4, 0.5, 0.6, 0.8]").replace("[none, 16]", "[none, 32, 16, 8]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return the folder of a run that tests only read."""
    return make_run(tmp_path_factory.mktemp("funnel"), seed=3)


def profile_in(folder: RunFolder) -> RunProfile | None:
    with open_run(folder) as run:
        return profile_of(run)


def kept_in(folder: RunFolder) -> Any:
    with open_run(folder) as run:
        return keep_profile(run)


def test_a_profile_is_rebuilt_as_it_was_measured(folder: RunFolder) -> None:
    found = profile_in(folder)
    assert found is not None
    evaluator = GradualEvaluator()
    base = found.profile.base.values
    for unit, costs in zip(found.profile.units, found.profile.costs, strict=True):
        for option, rise, drop in zip(unit.options, costs.loss, costs.metric, strict=True):
            candidate = Candidate(architecture="", recipe=Recipe(), policy=found.plan.single(option))
            alone = evaluator.evaluate(candidate, Rung.PROXY, Limit()).values
            assert rise == pytest.approx(max(0.0, alone["loss"] - base["loss"]))
            assert drop == pytest.approx(base["accuracy"] - alone["accuracy"])


def test_its_pairs_are_those_of_the_seed_that_the_run_was_searched_with(folder: RunFolder) -> None:
    found = profile_in(folder)
    assert found is not None
    assert len(found.profile.additivity.sums) == 8  # the experiment file says seed 0, the search was given 3


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_other_samplers_leave_no_profile(sampler: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path, sampler=sampler, trials=3, rungs=tuple(Rung))
    assert profile_in(folder) is None
    assert kept_in(folder) is None
    assert not any(file.exists() for file in profile_files(folder.path))


def test_an_unfinished_profile_is_none(tmp_path: Path) -> None:
    folder = make_run(tmp_path, stop_requested=stop_after(30))
    with open_run(folder) as run:
        count, seconds = run.ledger.proxies_so_far()
        assert 0 < count < 60
        assert seconds == pytest.approx(sum(proxy.seconds for proxy in run.ledger.proxies()))
        assert len(run.trials()) == 1
    assert kept_in(folder) is None


def test_many_proxies_of_other_policies_are_no_profile(tmp_path: Path) -> None:
    folder = make_run(tmp_path, sampler="random", trials=2)
    evaluator = GradualEvaluator()
    ledger = SqlLedger.open(folder.ledger)
    space = build_space(evaluator.layers, parse_experiment(TEXT, tmp_path / "exp.yaml").space)
    draws = random.Random(0)  # noqa: S311
    choices = [{item.name: 0 for item in space.parameters}]
    choices += [{item.name: draws.randrange(len(item.choices)) for item in space.parameters} for _ in range(100)]
    architecture, recipe = evaluator.describe().architecture, Recipe()
    for choice in choices:
        candidate = Candidate(architecture=architecture, recipe=recipe, policy=space.policy(choice))
        measurement = evaluator.evaluate(candidate, Rung.PROXY, Limit())
        ledger.keep_proxy(proxy_of(architecture, recipe, candidate.policy, measurement))
    ledger.close()
    assert profile_in(folder) is None


def test_a_decision_that_cannot_be_measured_does_not_hide_the_others(tmp_path: Path) -> None:
    def refuse(candidate: Candidate, rung: Rung) -> None:
        if rung is Rung.PROXY and candidate.policy["conv1"] == LayerPolicy(sparsity=0.5):
            raise Infeasible("no such layer")

    document = kept_in(make_run(tmp_path, before=refuse))
    rises = {
        layer["layers"][0]: option["loss_rise"]
        for layer in document["layers"]
        for option in layer["options"]
        if option["changes"] == {"sparsity": 0.5}
    }
    assert [name for name, rise in rises.items() if rise is None] == ["conv1"]
    assert len(rises) == 4
    assert profile_files(tmp_path / "runs" / "fake")[0].read_bytes().startswith(b"\x89PNG")


def test_the_document_tells_every_decision_by_what_it_changes(folder: RunFolder) -> None:
    document = kept_in(folder)
    found = profile_in(folder)
    assert found is not None
    assert json.loads(profile_files(folder.path)[1].read_text()) == document
    assert (document["metric"], document["direction"]) == ("accuracy", "maximize")
    assert document["additivity"]["sentence"] == str(found.profile.additivity)
    assert len(document["additivity"]["pairs"]) == 8
    assert document["base"]["values"] == found.profile.base.values
    [first, *others] = document["layers"][1]["options"]
    assert (first["changes"], first["loss_rise"], first["metric_drop"]) == ({}, 0.0, 0.0)
    assert first["bytes"] > max(option["bytes"] for option in others)
    rises = [option["loss_rise"] for option in others if len(option["changes"]) == 1]
    assert document["layers"][1]["sensitivity"] == pytest.approx(sum(rises) / len(rises))
    changes = [option["changes"] for option in others]
    assert {"sparsity": 0.8} in changes
    assert {"sparsity": 0.8, "clusters": 16, "quantization": "int8"} in changes
    assert len(changes) == len(found.plan.units[1].options) - 1
    assert [len(each) for each in changes] == sorted(len(each) for each in changes)


def test_of_a_large_space_single_knobs_are_told_and_no_others(tmp_path: Path) -> None:
    evaluator = GradualEvaluator(layers=layer_specs(5))
    document = kept_in(make_run(tmp_path, text=LARGE, evaluator=evaluator, trials=2))
    changes = [option["changes"] for layer in document["layers"] for option in layer["options"]]
    assert {len(each) for each in changes} == {0, 1}
    assert len(changes) == 5 * (1 + 5 + 3 + 2)


def test_the_files_are_written_once(folder: RunFolder) -> None:
    before = kept_in(folder)
    picture, _ = profile_files(folder.path)
    written = picture.stat().st_mtime_ns
    assert kept_in(folder) == before
    assert picture.stat().st_mtime_ns == written


def test_the_files_of_another_run_are_replaced(tmp_path: Path) -> None:
    folder = make_run(tmp_path, trials=2)
    picture, data = profile_files(folder.path)
    picture.write_bytes(b"of another run")
    data.write_text('{"run": "another"}')
    with open_run(folder) as run:
        assert kept_profile(run) is None
        document = keep_profile(run)
        assert document is not None
        assert kept_profile(run) == document
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_groups_of_layers_are_one_row(tmp_path: Path) -> None:
    text = TEXT.replace("space: {", "space: {groups: [[conv1, conv2]], ")
    document = kept_in(make_run(tmp_path, text=text, trials=2))
    assert [layer["layers"] for layer in document["layers"]] == [["conv0"], ["conv1", "conv2"], ["conv3"]]


def size_of_png(picture: bytes) -> tuple[int, int]:
    return int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])


def test_the_picture_grows_with_the_layers_and_the_decisions(folder: RunFolder) -> None:
    document = kept_in(folder)
    _, height = size_of_png(profile_picture(document))
    more_layers = {**document, "layers": document["layers"] * 4}
    assert size_of_png(profile_picture(more_layers))[1] > height
    singles = [
        {**layer, "options": [option for option in layer["options"] if len(option["changes"]) < 2]}
        for layer in document["layers"]
    ]
    assert grid_inches(singles, grid_groups(singles)) < grid_inches(document["layers"], grid_groups(document["layers"]))


def test_a_space_whose_decisions_cost_nothing_is_drawn_too(folder: RunFolder) -> None:
    document = kept_in(folder)
    free = [
        {**layer, "sensitivity": 0.0, "options": [{**option, "loss_rise": 0.0} for option in layer["options"]]}
        for layer in document["layers"]
    ]
    assert profile_picture({**document, "layers": free}).startswith(b"\x89PNG")
    nothing = [{**layer, "sensitivity": None, "options": layer["options"][:1]} for layer in document["layers"]]
    assert profile_picture({**document, "layers": nothing}).startswith(b"\x89PNG")
