"""What a run's ledger remembers about the run itself, so that reading it needs neither model nor worker."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from paretune.spaces.candidates.hyperspace import Hyperparameter
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.results.evaluator import ModelDescription
from paretune.spaces.results.objective import Bound, Constraint, Direction, Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What was settled when a run began.

    Attributes:
        run_id: Identifies the run wherever its folder goes; 32 hexadecimal digits.
        description: The model.
        objectives: What is optimised.
        constraints: Bounds on them.
        fingerprint: What must stay the same.
        threads: Of each worker.
    """

    run_id: str
    description: ModelDescription
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    fingerprint: Mapping[str, str] = field(repr=False)
    threads: int

    def to_document(self) -> dict[str, Any]:
        """Return plain data that :func:`read_facts` reads back to an equal value."""
        return {
            "run_id": self.run_id,
            "description": description_document(self.description),
            "objectives": [asdict(objective) for objective in self.objectives],
            "constraints": [asdict(constraint) for constraint in self.constraints],
            "fingerprint": dict(self.fingerprint),
            "threads": self.threads,
        }


def read_facts(document: Mapping[str, Any]) -> RunFacts:
    """Read what :meth:`RunFacts.to_document` wrote."""
    return RunFacts(
        run_id=document["run_id"],
        description=read_description(document["description"]),
        objectives=_objectives(document["objectives"]),
        constraints=tuple(
            Constraint(objective=row["objective"], bound=Bound(row["bound"]), value=row["value"])
            for row in document["constraints"]
        ),
        fingerprint=document["fingerprint"],
        threads=document["threads"],
    )


def description_document(description: ModelDescription) -> dict[str, Any]:
    """Return plain data that :func:`read_description` reads back to an equal value."""
    # asdict() would copy what mappings hold, and fails on those that cannot be copied
    return {
        "architecture": description.architecture,
        "layers": [_layer_document(layer) for layer in description.layers],
        "objectives": [asdict(objective) for objective in description.objectives.values()],
        "fingerprint": dict(description.fingerprint),
        "notes": list(description.notes),
        "machine": dict(description.machine),
        "samples": dict(description.samples),
        "hyperparameters": dict(description.hyperparameters),
        "hyperspace": [asdict(each) for each in description.hyperspace],
    }


def read_description(document: Mapping[str, Any]) -> ModelDescription:
    """Read what :func:`description_document` wrote."""
    return ModelDescription(
        architecture=document["architecture"],
        layers=tuple(_layer(row) for row in document["layers"]),
        objectives={objective.name: objective for objective in _objectives(document["objectives"])},
        fingerprint=document["fingerprint"],
        notes=tuple(document["notes"]),
        machine=document["machine"],
        samples=document["samples"],
        hyperparameters=document["hyperparameters"],
        hyperspace=tuple(_hyperparameter(row) for row in document["hyperspace"]),
    )


def _layer_document(layer: LayerSpec) -> dict[str, Any]:
    plain = replace(
        layer,
        refusals=dict(layer.refusals),
        pattern_floors=dict(layer.pattern_floors),
        pattern_refusals=dict(layer.pattern_refusals),
    )
    return asdict(plain)


def _layer(row: Mapping[str, Any]) -> LayerSpec:
    lists = {
        "weight_shape": tuple(row["weight_shape"]),
        "reads": tuple(row.get("reads", ())),
        "inputs_each": tuple(row.get("inputs_each", ())),
        "energies": tuple(row.get("energies", ())),
        "spatial_energies": tuple(row.get("spatial_energies", ())),
        "quantizations": tuple(Quantization(mode) for mode in row["quantizations"]),
    }
    return LayerSpec(**{**row, **lists})


def _hyperparameter(row: Mapping[str, Any]) -> Hyperparameter:
    conditions = {name: tuple(values) for name, values in row["conditions"].items()}
    return Hyperparameter(**{**row, "choices": tuple(row["choices"]), "conditions": conditions})


def _objectives(rows: Sequence[Mapping[str, Any]]) -> tuple[Objective, ...]:
    return tuple(Objective(**{**row, "direction": Direction(row["direction"])}) for row in rows)
