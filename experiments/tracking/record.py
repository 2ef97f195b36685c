"""MLflow's record of a run, brought up to date from the run's content; may be repeated at will."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretune.experiments.tracking.content import (
    POLICY_TABLE,
    RunContent,
    TrialContent,
    finished_trials,
    front_csv,
    front_tags,
    milliseconds,
    trial_content,
    trial_files,
    with_safe_names,
)
from paretune.experiments.tracking.summary import front_table_document, summary_text
from paretune.experiments.tracking.tracker import TrackingStore, quieten_mlflow
from paretune.spaces.policies.policy import digest_of
from paretune.spaces.results.trial import Trial

_RUN_ID = "paretune.run_id"
_KIND = "paretune.kind"
_DIGEST = "paretune.digest"
_PARENT = "mlflow.parentRunId"
_DESCRIPTION = "mlflow.note.content"
_DESCRIBED = "paretune.description"
_FRONT_TABLE = "front_table.json"
_METRICS = "paretune.metrics"
_PROFILE = "paretune.profile"
_REPORT = "paretune.report"
#: What one `log_batch` takes, by MLflow's REST limits.
_MOST_PARAMETERS = 100
_MOST_METRICS = 900


@dataclass(slots=True)
class _Known:
    """What MLflow holds of one run."""

    mlflow_id: str
    status: str
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """What MLflow holds after an update.

    Attributes:
        children: Child runs, one for each trial that has ended or was refused.
        written: How many of them this update wrote.
        on_front: Child runs tagged ``pareto``.
    """

    children: int
    written: int
    on_front: int


class MlflowRecord:
    """One run's parent and child runs in an MLflow store.

    What is there is found by tag, so that a record can be continued or repaired by another process; one writer at a
    time. A child is created and terminated before anything is logged to it (MLflow allows that), so that no crash
    leaves it running for longer than it takes to write two rows; the digest of its content is tagged last.

    Anything that MLflow raises is passed on: its exceptions are of many kinds, and all mean that the record is behind.
    """

    def __init__(self, store: TrackingStore, run_id: str) -> None:
        quieten_mlflow()
        from mlflow.tracking import MlflowClient

        if store.folder is not None:
            store.folder.mkdir(parents=True, exist_ok=True)
        self._client: Any = MlflowClient(tracking_uri=store.uri, registry_uri=store.uri)
        self._run_id = run_id
        self._experiment_id = self._find_experiment(store)
        self._parent: _Known | None = None
        self._children: dict[int, _Known] = {}
        self._written: dict[int, Trial] = {}  # as MLflow holds them: comparing is quicker than making the content
        for known in self._known_runs():
            self._remember(known)
        self._hypervolume_steps = self._logged_hypervolumes()

    def update(
        self, content: RunContent, picture: Path, *, is_running: bool, profile_files: Iterable[Path] = ()
    ) -> RecordCounts:
        """Write what is missing or has changed.

        Args:
            content: What MLflow should show.
            picture: The front as an image file.
            is_running: Whether the search goes on; the parent run is ``RUNNING`` then, and otherwise left as it is.
            profile_files: The files of the profile, where the content has one.
        """
        parent = self._open_parent(content, is_running=is_running)
        written = 0
        on_front_now = {trial.number for trial in content.front.trials}
        for trial in finished_trials(content.trials):
            tags = front_tags(content.front, on_front_now, trial.number)
            written += self._write_child(trial, parent, tags)
        self._write_parent(content, picture, parent)
        self._write_profile(content, profile_files, parent)
        on_front = sum(child.tags.get("pareto") == "true" for child in self._children.values())
        return RecordCounts(children=len(self._children), written=written, on_front=on_front)

    def log_report(self, page: str) -> None:
        """Keep the page of the run with the parent run, unless it is there already; after :meth:`update`.

        Args:
            page: As :func:`paretune.experiments.report.page.report_page` returns it.
        """
        tags = {_REPORT: digest_of(page)}
        if self._parent is not None and self._parent.tags.get(_REPORT) != tags[_REPORT]:
            self._client.log_text(self._parent.mlflow_id, page, "report.html")
            self._set_tags(self._parent, tags)

    def end(self, status: str, content: RunContent) -> None:
        """End the parent run, if there is one.

        Args:
            status: ``FINISHED``, ``FAILED`` or ``KILLED``.
            content: Tells when the last trial ended.
        """
        if self._parent is not None and self._parent.status != status:
            end_time = content.ended_ms or None
            self._client.set_terminated(self._parent.mlflow_id, status=status, end_time=end_time)
            self._parent.status = status

    @property
    def is_left_running(self) -> bool:
        """Whether MLflow shows the search as running."""
        return self._parent is not None and self._parent.status == "RUNNING"

    def trials_tagged_pareto(self) -> set[int]:
        """Return the trials that MLflow, asked anew, shows on the front."""
        children = [known for known in self._known_runs() if known.tags.get(_KIND) == "trial"]
        return {int(child.tags["trial"]) for child in children if child.tags.get("pareto") == "true"}

    def _find_experiment(self, store: TrackingStore) -> str:
        experiment = self._client.get_experiment_by_name(store.experiment)
        if experiment is None:
            created: str = self._client.create_experiment(store.experiment, artifact_location=store.artifacts)
            return created
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        found: str = experiment.experiment_id
        return found

    def _known_runs(self) -> Iterator[_Known]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                filter_string=f"tags.`{_RUN_ID}` = '{self._run_id}'",
                max_results=1000,
                order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
                page_token=token,
            )
            for run in page:
                yield _Known(run.info.run_id, run.info.status, dict(run.data.tags))
            token = page.token
            if not token:
                return

    def _remember(self, known: _Known) -> None:
        if known.tags.get(_KIND) == "search" and self._parent is None:
            self._parent = known
        elif known.tags.get(_KIND) == "trial" and int(known.tags["trial"]) not in self._children:
            self._children[int(known.tags["trial"])] = known
        else:
            # two writers met, or one was killed between creating a run and hearing of it
            self._client.delete_run(known.mlflow_id)

    def _open_parent(self, content: RunContent, *, is_running: bool) -> _Known:
        if self._parent is None:
            tags = {_RUN_ID: self._run_id, _KIND: "search"}
            run = self._client.create_run(
                self._experiment_id, start_time=content.started_ms or None, tags=tags, run_name=content.name
            )
            self._parent = _Known(run.info.run_id, "RUNNING", tags)
        elif is_running and self._parent.status != "RUNNING":
            self._client.update_run(self._parent.mlflow_id, status="RUNNING")
            self._parent.status = "RUNNING"
        return self._parent

    def _write_child(self, trial: Trial, parent: _Known, front: Mapping[str, str]) -> bool:
        """Write one child unless MLflow has it already; returns whether it had to be written."""
        child = self._children.get(trial.number)
        if child is not None and self._written.get(trial.number) == trial:
            self._set_tags(child, front)
            return False
        content = trial_content(trial)
        if child is not None and child.tags.get(_DIGEST) == content.digest:
            self._set_tags(child, front)
            self._written[trial.number] = trial
            return False
        if child is None:
            child = self._create_child(content, parent)
        elif child.status != content.status:
            self._client.set_terminated(child.mlflow_id, status=content.status, end_time=content.ended_ms)
            child.status = content.status
        self._log(child, content.parameters, content.metrics, content.ended_ms)
        for name, text in trial_files(trial).items():
            self._client.log_text(child.mlflow_id, text, name)
        self._set_tags(child, {**content.tags, **front, **_tables(POLICY_TABLE), _DIGEST: content.digest})
        self._written[trial.number] = trial
        return True

    def _create_child(self, content: TrialContent, parent: _Known) -> _Known:
        tags = {_RUN_ID: self._run_id, _KIND: "trial", _PARENT: parent.mlflow_id, "trial": str(content.number)}
        run = self._client.create_run(
            self._experiment_id, start_time=content.started_ms, tags=tags, run_name=f"trial {content.number}"
        )
        child = _Known(run.info.run_id, content.status, tags)
        self._client.set_terminated(child.mlflow_id, status=content.status, end_time=content.ended_ms)
        self._children[content.number] = child
        return child

    def _write_parent(self, content: RunContent, picture: Path, parent: _Known) -> None:
        tags = {**content.tags, **{name: str(count) for name, count in content.counts.items()}}
        if "paretune.parameters" not in parent.tags:
            self._log(parent, with_safe_names(content.parameters, longest=499), {}, 0)
            tags["paretune.parameters"] = "logged"
        self._log_hypervolumes(content, parent)
        table = front_csv(content.front)
        if parent.tags.get("paretune.front") != digest_of(table):
            self._client.log_text(parent.mlflow_id, table, "front.csv")
            document = front_table_document(content.front, content.metric)
            self._client.log_text(parent.mlflow_id, json.dumps(document), _FRONT_TABLE)
            self._client.log_artifact(parent.mlflow_id, str(picture))
            tags |= {"paretune.front": digest_of(table), **_tables(_FRONT_TABLE)}
        self._set_tags(parent, tags)
        self._describe(summary_text(content), parent)

    def _describe(self, text: str, parent: _Known) -> None:
        """Write the description of the parent; what a person has written there stays."""
        if parent.tags.get(_DESCRIBED) == digest_of(text):
            return
        said = self._client.get_run(parent.mlflow_id).data.tags.get(_DESCRIPTION)
        if said is None or digest_of(said) == parent.tags.get(_DESCRIBED):
            self._set_tags(parent, {_DESCRIPTION: text, _DESCRIBED: digest_of(text)})

    def _write_profile(self, content: RunContent, files: Iterable[Path], parent: _Known) -> None:
        """Write what was measured untrained: how much it was, and the profile once it is complete."""
        metrics = content.metrics
        tags = {_METRICS: digest_of(metrics)}
        if metrics and parent.tags.get(_METRICS) != tags[_METRICS]:
            self._log(parent, {}, metrics, content.ended_ms)
            self._set_tags(parent, tags)
        if content.profile is not None and _PROFILE not in parent.tags:
            for file in files:
                self._client.log_artifact(parent.mlflow_id, str(file))
            self._set_tags(parent, {_PROFILE: digest_of(content.profile)})

    def _logged_hypervolumes(self) -> set[int]:
        if self._parent is None:
            return set()
        return {metric.step for metric in self._client.get_metric_history(self._parent.mlflow_id, "hypervolume")}

    def _log_hypervolumes(self, content: RunContent, parent: _Known) -> None:
        from mlflow.entities import Metric

        # a refused trial has no time of its own
        at_ms = dict(_running_maximum((trial.number, milliseconds(trial.ended)) for trial in content.trials))
        new = [(number, volume) for number, volume in content.hypervolumes if number not in self._hypervolume_steps]
        metrics = [Metric("hypervolume", volume, at_ms[number], number) for number, volume in new]
        for start in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(parent.mlflow_id, metrics=metrics[start : start + _MOST_METRICS])
        self._hypervolume_steps.update(number for number, _ in new)

    def _log(self, run: _Known, parameters: Mapping[str, str], metrics: Mapping[str, float], at_ms: int) -> None:
        from mlflow.entities import Metric, Param

        pairs = [Param(name, value) for name, value in parameters.items()]
        values = [Metric(name, value, at_ms, 0) for name, value in metrics.items()]
        self._client.log_batch(run.mlflow_id, metrics=values, params=pairs[:_MOST_PARAMETERS])
        for start in range(_MOST_PARAMETERS, len(pairs), _MOST_PARAMETERS):
            self._client.log_batch(run.mlflow_id, params=pairs[start : start + _MOST_PARAMETERS])

    def _set_tags(self, run: _Known, wanted: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        changed = {name: value for name, value in wanted.items() if run.tags.get(name) != value}
        if changed:
            self._client.log_batch(run.mlflow_id, tags=[RunTag(name, value) for name, value in changed.items()])
            run.tags.update(changed)


def _tables(name: str) -> dict[str, str]:
    """Return the tag by which MLflow knows that a run has a table, as its ``log_table`` writes it."""
    return {"mlflow.loggedArtifacts": json.dumps([{"path": name, "type": "table"}])}


def child_of(client: Any, run_id: str, number: int) -> Any:
    """Return MLflow's run of a trial, in whichever experiment its record lies; ``None`` if there is none."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    tags = {_RUN_ID: run_id, _KIND: "trial", "trial": str(number)}
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    found = client.search_runs(experiments, filter_string=wanted, max_results=1, order_by=["attributes.start_time ASC"])
    return found[0] if found else None


def _running_maximum(pairs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    highest = 0
    for key, value in pairs:
        highest = max(highest, value)
        yield key, highest
