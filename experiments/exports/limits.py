"""What an exported file is not good for, as its card says it."""

from collections.abc import Mapping
from typing import Any

from paretune.experiments.exports.c_array import MOST_BYTES
from paretune.experiments.terminal.wording import bytes_text
from paretune.spaces.policies.policy import Quantization
from paretune.spaces.results.evaluator import FileExample
from paretune.spaces.results.trial import Trial

#: Formats whose weights are integers, or halves, and whose arithmetic is float: LiteRT has kernels for them,
#: TensorFlow Lite Micro has not ("Hybrid models are not supported").
_HYBRID = (Quantization.FLOAT16, Quantization.DYNAMIC_INT8, Quantization.INT4, Quantization.INT4_BLOCK)

_STATEFUL = ("UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "VAR_HANDLE")


def limits_text(trial: Trial, document: Mapping[str, Any], example: FileExample) -> str:
    """Return what a user of the file must know, as a list."""
    lines = [
        "- Inputs and outputs are float32 or whole numbers, for a batch of one.",
        "- Accuracy was measured on the data above, and says nothing of other data.",
        "- Latency was measured on the machine above; on another one, formats may rank otherwise.",
    ]
    if set(example.operators) & set(_STATEFUL):
        lines.append("- Recurrent layers keep their state: call `reset_all_variables()` before every sequence.")
    hybrid = hybrid_layers(trial)
    if hybrid:
        formats = " and ".join(sorted({str(trial.candidate.policy[layer].quantization) for layer in hybrid}))
        lines.append(
            f"- TensorFlow Lite Micro does not run {formats} weights beside float activations ({_some(hybrid)}); "
            "LiteRT does. For microcontrollers, search with `quantization: [int8, int8_qat]`."
        )
    if document["file_bytes"] > MOST_BYTES:
        lines.append(f"- There is no C array of it: it is larger than {bytes_text(MOST_BYTES)}.")
    return "\n".join(lines)


def hybrid_layers(trial: Trial) -> list[str]:
    """Return the layers that TensorFlow Lite Micro does not run."""
    return [layer for layer, decided in trial.candidate.policy.items() if decided.quantization in _HYBRID]


def _some(layers: list[str]) -> str:
    more = len(layers) - 3
    return f"{', '.join(layers[:3])} and {more} more" if more > 1 else ", ".join(layers)
