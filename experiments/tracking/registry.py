"""Register an exported file in MLflow's model registry: what is registered is what was measured."""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretune.experiments.exports.export import MODEL, ExportedFile
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import Run
from paretune.experiments.tracking.model_folder import FILE_IN_FOLDER, write_model_folder
from paretune.experiments.tracking.record import child_of
from paretune.experiments.tracking.source import tracking_of
from paretune.experiments.tracking.sync import is_being_searched, mlflow_errors, sync_run
from paretune.experiments.tracking.tracker import (
    TrackingStore,
    quieten_mlflow,
    tracking_store,
    without_credentials,
    writing_record,
)
from paretune.spaces.errors import ConfigurationError, RunError

_SHA256 = "sha256"
#: The tracking process gives up a minute after it has heard of its search's end, which on a busy machine takes a while.
_PATIENCE_SECONDS = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Under which name a file is to be registered.

    Attributes:
        name: Of the registered model.
        alias: That is to mean its new version from now on; ``None`` leaves aliases alone.
    """

    name: str
    alias: str | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or "/" in self.name or ":" in self.name:
            raise ConfigurationError(f"--register needs a name without '/' and ':', got {self.name!r}.")
        alias = self.alias
        if alias is not None and (
            not re.fullmatch(r"[\w-]+", alias) or alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias)
        ):
            raise ConfigurationError(
                f"--alias needs letters, digits, '_' or '-', and neither 'latest' nor 'v1', got {alias!r}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A version of a registered model.

    Attributes:
        uri: As MLflow loads it, such as ``models:/digits@champion``.
        version: Counts from 1 within the name.
        is_new: Whether it was made now; otherwise the same file had been registered before.
        tracking_uri: Of the store, without credentials.
    """

    uri: str
    version: str
    is_new: bool
    tracking_uri: str


def registry_of(run: Run) -> TrackingStore:
    """Return the store that a run's models are registered in.

    Raises:
        ConfigurationError: If the run is not tracked.
    """
    tracking = tracking_of(run)
    if tracking is None:
        raise ConfigurationError(
            f"--register needs MLflow, and `tracking` is off in {run.experiment.file}. Leave --register out, or set "
            "`tracking: {experiment: paretune}` there."
        )
    return tracking_store(run.folder.path, tracking)


def register(run: Run, file: ExportedFile, registration: Registration) -> Registered:
    """Log a file as an MLflow model of its trial's run, register it, and let the alias mean it.

    A version that holds the same file (SHA-256) already is taken as it is. The alias moves last, after what the
    store holds has been read back and compared.

    Raises:
        ConfigurationError: If the run is not tracked.
        RunError: If MLflow cannot be written, or holds something else than was measured.
    """
    store = registry_of(run)
    _let_the_record_be_written(run.folder)
    quieten_mlflow()
    with mlflow_errors(store), _as_mlflows_own(store):
        from mlflow.tracking import MlflowClient

        client: Any = MlflowClient(tracking_uri=store.uri, registry_uri=store.uri)
        known = _known_version(client, registration.name, file)
        version = known or _new_version(client, run, file, registration.name)
        _require_same_file(client, registration.name, version, file)
        if registration.alias is not None:
            client.set_registered_model_alias(registration.name, registration.alias, version)
    address = f"@{registration.alias}" if registration.alias is not None else f"/{version}"
    return Registered(
        uri=f"models:/{registration.name}{address}",
        version=version,
        is_new=known is None,
        tracking_uri=without_credentials(store.uri),
    )


def _let_the_record_be_written(folder: RunFolder) -> None:
    """Wait for the tracking process of a search that has just ended: it may be making the database at this moment.

    While a search runs, its database has long been made, and nothing has to be waited for.

    Raises:
        RunError: If that takes longer than it ever should.
    """
    if not is_being_searched(folder):
        with writing_record(folder.path, patience_seconds=_PATIENCE_SECONDS):
            pass


@contextmanager
def _as_mlflows_own(store: TrackingStore) -> Iterator[None]:
    """Make a store the one that MLflow takes where it is not told: its registry looks a model up there."""
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(store.uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # also takes it out of the environment that child processes get


def _known_version(client: Any, name: str, file: ExportedFile) -> str | None:
    for version in client.search_model_versions(f"name = {_quoted(name)}"):
        if version.tags.get(_SHA256) == file.document[_SHA256] and version.status == "READY":
            found: str = str(version.version)
            return found
    return None


def _new_version(client: Any, run: Run, file: ExportedFile, name: str) -> str:
    child = child_of(client, run.facts.run_id, file.trial.number)
    if child is None:
        sync_run(run.folder)
        child = child_of(client, run.facts.run_id, file.trial.number)
    if child is None:
        raise RunError(f"MLflow must hold trial {file.trial.number} of {run.folder}; it was deleted there. Restore it.")
    tags = _tags(run, file)
    with _logged_model(client, child, run.experiment.name, tags) as (model_id, mlflow_model):
        with tempfile.TemporaryDirectory(prefix="paretune-") as place:
            (Path(place) / MODEL).write_bytes(file.contents)
            folder = Path(place) / "mlflow_model"
            write_model_folder(folder, Path(place) / MODEL, file.example, about=tags, mlflow_model=mlflow_model)
            client.log_model_artifacts(model_id, str(folder))
        _link_values(client, child, model_id)
    if not client.search_registered_models(f"name = {_quoted(name)}"):
        client.create_registered_model(name)
    made = client.create_model_version(
        name,
        source=f"models:/{model_id}",
        run_id=child.info.run_id,
        tags=tags,
        description=_description(file),
        model_id=model_id,
    )
    return str(made.version)


@contextmanager
def _logged_model(client: Any, child: Any, name: str, tags: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Make a model of a run in MLflow; ready at the end of the block, failed if it raises."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    # MLflow takes no '/', ':', '.', '%', quotes here
    safe = re.sub(r"[/:.%\"']", "_", name)
    logged = client.create_logged_model(
        child.info.experiment_id, name=safe, source_run_id=child.info.run_id, tags=tags, params=dict(child.data.params)
    )
    model_id: str = logged.model_id
    try:
        yield (
            model_id,
            Model(
                artifact_path=logged.artifact_location, run_id=child.info.run_id, model_uuid=model_id, model_id=model_id
            ),
        )
    except BaseException:
        client.finalize_logged_model(model_id, "FAILED")
        raise
    client.log_outputs(child.info.run_id, [LoggedModelOutput(model_id, step=0)])
    client.finalize_logged_model(model_id, "READY")


def _link_values(client: Any, child: Any, model_id: str) -> None:
    """Show on the model's page what its trial measured; the same values at the same time, which MLflow keeps once."""
    from mlflow.entities import Metric

    run_id, at_ms = child.info.run_id, child.info.end_time or 0
    metrics = [
        Metric(name, value, at_ms, 0, model_id=model_id, run_id=run_id) for name, value in child.data.metrics.items()
    ]
    client.log_batch(run_id, metrics=metrics)


def _quoted(name: str) -> str:
    """Return a name as MLflow's filters take it."""
    return "'" + name.replace("'", "''") + "'"


def _tags(run: Run, file: ExportedFile) -> dict[str, str]:
    document = file.document
    return {
        _SHA256: document[_SHA256],
        "paretune.run_id": run.facts.run_id,
        "trial": str(file.trial.number),
        "policy_digest": document["policy_digest"],
        "candidate_digest": document["candidate_digest"],
        "origin": document["origin"],
    }


def _description(file: ExportedFile) -> str:
    document = file.document
    metric = document["metric"]
    validation, test = document["values"]["validation"], document["values"]["test"]
    return (
        f"{document['origin']}: {metric} {validation[metric]:.4g} on validation, {test[metric]:.4g} on test; "
        f"{validation['size_bytes']:,.0f} bytes deflated. Measured on the file with SHA-256 {document[_SHA256]}."
    )


def _require_same_file(client: Any, name: str, version: str, file: ExportedFile) -> None:
    """Read back what MLflow holds."""
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory(prefix="paretune-") as place:
        source = client.get_model_version_download_uri(name, version)
        path = download_artifacts(
            artifact_uri=f"{source}/{FILE_IN_FOLDER}", dst_path=place, tracking_uri=client.tracking_uri
        )
        held = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if held != file.document[_SHA256]:
        raise RunError(
            f"MLflow must hold the file that was measured: version {version} of '{name}' has SHA-256 {held}, the "
            f"measured file {file.document[_SHA256]}. The alias was not moved; delete that version in MLflow."
        )
