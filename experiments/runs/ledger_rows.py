"""The tables of a run's ledger, and how trials become rows and rows become trials."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
)

from paretune.experiments.runs.facts import description_document, read_description
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.recipe import read_recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.variant import Variant
from paretune.spaces.policies.policy import LayerPolicy, Policy, read_knob
from paretune.spaces.results.evaluator import Split
from paretune.spaces.results.measurement import Measurement, read_fidelity
from paretune.spaces.results.proxy import Proxy
from paretune.spaces.results.resampling import Resampled
from paretune.spaces.results.trial import Trial, TrialState

#: Raised whenever a table changes its meaning.
SCHEMA_VERSION = 4

METADATA = MetaData()

#: What is known about the run as a whole, one JSON value by key.
RUN = Table(
    "run",
    METADATA,
    Column("key", String, primary_key=True),
    Column("value", JSON, nullable=False),
)

#: One row per trial. What was measured stands in MEASUREMENTS; ``cost`` and the rest belong to the trial itself.
TRIALS = Table(
    "trials",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", String, nullable=False),
    Column("rung", String, nullable=False),
    Column("origin", String, nullable=False),
    Column("architecture", String, nullable=False),
    Column("hyperparameters", JSON, nullable=False),
    Column("policy", JSON, nullable=False),
    Column("policy_digest", String, nullable=False, index=True),
    Column("recipe", JSON, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("reason", String, nullable=False),
    Column("training_steps", Integer, nullable=False),
    Column("seconds", JSON, nullable=False),
    Column("fidelity", JSON, nullable=False),
    Column("details", JSON, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float, nullable=False),
    CheckConstraint("number >= 0"),
)

#: Kind of the measurements that hold a metric on resamples of the test split.
RESAMPLES = "test_resamples"

#: Append-only: what a trial's file measured, by kind (``validation``, ``test``); later rows add to earlier ones. Of
#: :data:`RESAMPLES`, the last one counts.
MEASUREMENTS = Table(
    "measurements",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("trial", ForeignKey(TRIALS.c.number), nullable=False),
    Column("kind", String, nullable=False),
    Column("measured", JSON, nullable=False),
    Column("time", Float, nullable=False),
    Index("measurements_of_trial", "trial", "kind"),
)

#: What policies measured without training: the profile of the model, and candidates before their trials.
PROXIES = Table(
    "proxies",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("base", String, nullable=False),
    Column("policy", JSON, nullable=False),
    Column("measured", JSON, nullable=False),
    Column("layer_bytes", JSON, nullable=False),
    Column("seconds", Float, nullable=False),
)


#: Base models and recipes that the search opened beside the baseline's own.
VARIANTS = Table(
    "variants",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("hyperparameters", JSON, nullable=False),
    Column("description", JSON, nullable=False),
)


def document_of_resampled(resampled: Resampled) -> dict[str, Any]:
    """Return what a row of :data:`RESAMPLES` holds."""
    return {"metric": resampled.metric, "values": list(resampled.values), "reason": resampled.reason}


def resampled_of(document: Mapping[str, Any]) -> Resampled:
    """Read what :func:`document_of_resampled` wrote."""
    return Resampled(metric=document["metric"], values=tuple(document["values"]), reason=document["reason"])


def row_of_variant(variant: Variant) -> dict[str, Any]:
    """Return the row of a variant."""
    return {"hyperparameters": dict(variant.values), "description": description_document(variant.description)}


def variant_of_row(row: RowMapping) -> Variant:
    """Return the variant of a row."""
    return Variant(values=row["hyperparameters"], description=read_description(row["description"]))


def row_of_proxy(proxy: Proxy) -> dict[str, Any]:
    """Return the row of a proxy."""
    return {
        "base": proxy.base,
        "policy": proxy.policy.to_document()["layers"],
        "measured": dict(proxy.values),
        "layer_bytes": dict(proxy.layer_bytes),
        "seconds": proxy.seconds,
    }


def proxy_of_row(row: RowMapping) -> Proxy:
    """Return the proxy of a row."""
    return Proxy(
        base=row["base"],
        policy=_policy(row["policy"]),
        values=row["measured"],
        layer_bytes=row["layer_bytes"],
        seconds=row["seconds"],
    )


def row_of_proposal(
    number: int,
    *,
    candidate: Candidate,
    rung: Rung,
    origin: str,
    parameters: Mapping[str, int],
    state: TrialState,
    reason: str,
    started: float,
) -> dict[str, Any]:
    """Return the row of a trial of which nothing has been measured yet."""
    return {
        "number": number,
        "state": str(state),
        "rung": str(rung),
        "origin": origin,
        "architecture": candidate.architecture,
        "hyperparameters": dict(candidate.hyperparameters),
        "policy": candidate.policy.to_document()["layers"],
        "policy_digest": candidate.policy.digest,
        "recipe": candidate.recipe.to_document(),
        "seed": candidate.seed,
        "parameters": dict(parameters),
        "reason": reason,
        "training_steps": 0,
        "seconds": {},
        "fidelity": [],
        "details": {},
        "started": started,
        "ended": 0.0,
    }


def columns_of_ending(trial: Trial) -> dict[str, Any]:
    """Return what changes in a row when its trial ends, apart from the values measured."""
    columns: dict[str, Any] = {"state": str(trial.state), "reason": trial.reason, "ended": trial.ended}
    measurement = trial.measurement
    if measurement is not None:
        columns |= {
            "training_steps": measurement.training_steps,
            "seconds": dict(measurement.seconds),
            "fidelity": measurement.fidelity.to_document(),
            "details": dict(measurement.details),
        }
    return columns


def trial_of(row: RowMapping, measured: Sequence[RowMapping]) -> Trial:
    """Return the trial of a row and its measurements, oldest first."""
    values: dict[str, dict[str, float]] = {}
    for entry in measured:
        values.setdefault(entry["kind"], {}).update(entry["measured"])
    measurement = None
    if str(Split.VALIDATION) in values:
        measurement = Measurement(
            values=values[Split.VALIDATION],
            training_steps=row["training_steps"],
            seconds=row["seconds"],
            fidelity=read_fidelity(row["fidelity"]),
            details=row["details"],
        )
    return Trial(
        number=row["number"],
        candidate=Candidate(
            architecture=row["architecture"],
            recipe=read_recipe(row["recipe"]),
            policy=_policy(row["policy"]),
            seed=row["seed"],
            hyperparameters=row["hyperparameters"],
        ),
        rung=Rung(row["rung"]),
        state=TrialState(row["state"]),
        origin=row["origin"],
        parameters=row["parameters"],
        reason=row["reason"],
        measurement=measurement,
        test_values=values.get(Split.TEST, {}),
        started=row["started"],
        ended=row["ended"],
    )


def _policy(layers: Mapping[str, Mapping[str, Any]]) -> Policy:
    return Policy(
        tuple(
            (name, LayerPolicy(**{knob: read_knob(knob, value) for knob, value in knobs.items()}))
            for name, knobs in layers.items()
        )
    )
