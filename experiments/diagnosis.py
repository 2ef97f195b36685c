"""What the doctor found, as plain data."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from paretune.spaces.policies.decompositions import DECOMPOSITIONS
from paretune.spaces.results.evaluator import ModelDescription


def diagnosis_document(description: ModelDescription, target_notes: Sequence[str] = ()) -> dict[str, Any]:
    """Return layers, what knobs apply to them and why not, and what was done to the working copy.

    Args:
        description: The model.
        target_notes: What the target has settled about the space, and why.
    """
    return {
        "architecture": description.architecture,
        "hyperspace": [
            {"name": each.name, "choices": list(each.choices), "default": each.default}
            for each in description.hyperspace
        ],
        "layers": [
            {
                "name": spec.name,
                "kind": spec.kind,
                "weight_shape": list(spec.weight_shape),
                "weights": spec.weights,
                "distinct": spec.distinct,
                "macs": spec.macs,
                "largest_rank": {each: replace(spec, decomposition=each).largest_rank for each in DECOMPOSITIONS},
                "sparsity": spec.prunable,
                "clusters": spec.clusterable,
                "quantization": [str(mode) for mode in spec.quantizations],
                "refusals": dict(spec.refusals),
                "pattern_refusals": dict(spec.pattern_refusals),
            }
            for spec in description.layers
        ],
        "notes": list(description.notes),
        "target": list(target_notes),
        "objectives": {
            item.name: {"direction": str(item.direction), "unit": item.unit} for item in description.objectives.values()
        },
        "samples": dict(description.samples),
        "machine": dict(description.machine),
    }
