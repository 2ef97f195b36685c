"""From weights and a policy to the file that would ship."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.flatbuffer.reader import read_fidelity
from paretune.objectives.formats.formats import check_formats, quantize_file
from paretune.objectives.kernels.weights import LayerWeights, write_weights
from paretune.objectives.pipeline.copies import fresh_copy
from paretune.objectives.ranks.lowering import ranks_of
from paretune.objectives.repairs.bias_correction import correct_biases
from paretune.objectives.repairs.equalisation import equalised, joints_of
from paretune.objectives.shrinking.cutting import cut_channels
from paretune.objectives.shrinking.splitting import split_kernels
from paretune.objectives.templates.template import FloatTemplate, build_template
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.recipe import cluster_scope_of, decomposition_in
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import Policy
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.results.measurement import Fidelity

#: Which output channels stay, for every layer that loses some.
Kept = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """The file of a candidate.

    Attributes:
        contents: As it would ship.
        before: The same in float32.
        template: Tells where the kernels are in both.
    """

    contents: bytes
    before: bytes
    template: FloatTemplate

    def fidelity(self, candidate: Candidate, layers: Sequence[LayerSpec]) -> Fidelity:
        """Compare it with what the candidate asks for."""
        return read_fidelity(
            self.template,
            self.before,
            self.contents,
            candidate.policy,
            layers,
            pattern=candidate.recipe.prune.pattern,
            cluster_scope=cluster_scope_of(candidate.policy, candidate.recipe),
            decomposition=decomposition_in(candidate.policy, candidate.recipe),
        )


class Exporter:
    """Writes the files of one model.

    Args:
        model: The working copy; it is only read.
        weights: Its trained weights.
        calibration: Samples for each input, in Keras order, that tell the ranges of activations.

    Attributes:
        template: The float32 file, converted once.
        baseline_file: The uncompressed float32 model.
    """

    def __init__(self, model: Any, weights: LayerWeights, calibration: Sequence[NDArray[Any]]) -> None:
        self.template = build_template(model)
        self.baseline_file = self.template.fill(model)
        self._model = fresh_copy(model, weights)
        self._joints = joints_of(model)
        self._calibration = calibration

    def check(self, policy: Policy, kept: Kept) -> None:
        """Raise before training where a layer gets too narrow for its number format.

        Raises:
            Infeasible: One does.
        """
        formats = _formats(policy)
        if kept and Quantization.INT4_BLOCK in formats.values():
            check_formats(self.template, cut_channels(self.template, self.baseline_file, kept), formats)

    def export(self, weights: LayerWeights, kept: Kept, candidate: Candidate) -> ExportedFile:
        """Return the file of some weights: removed channels are gone, kernels with a rank are two, repairs are done.

        Raises:
            Infeasible: A layer cannot be stored as asked.
            MeasurementFailed: Calibration could not run the float file.
        """
        repairs, formats = candidate.recipe.export, _formats(candidate.policy)
        if repairs.equalise:
            weights = equalised(self._joints, weights, candidate.policy)
        write_weights(self._model, weights)
        whole = cut_channels(self.template, self.template.fill(self._model), kept)
        decomposition = decomposition_in(candidate.policy, candidate.recipe)
        template, before = split_kernels(self.template, whole, ranks_of(candidate.policy), decomposition)
        contents = quantize_file(template, before, formats, self._calibration)
        if repairs.correct_bias:
            contents = correct_biases(template, before, contents, formats, self._calibration)
        return ExportedFile(contents, before, template)

    def in_integers(self, layers: Sequence[LayerSpec]) -> bytes:
        """Return the uncompressed model with every layer in int8 that can be."""
        formats = {spec.name: Quantization.INT8 for spec in layers if Quantization.INT8 in spec.quantizations}
        return quantize_file(self.template, self.baseline_file, formats, self._calibration)


def _formats(policy: Policy) -> dict[str, Quantization]:
    return {name: decided.quantization for name, decided in policy.items()}
