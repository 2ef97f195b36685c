"""What the key ``target`` decides where an experiment says nothing itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from paretune.experiments.config.problems import Problems
from paretune.experiments.config.yaml_reader import Place
from paretune.spaces.policies.choices import DEFAULT_CHOICES
from paretune.spaces.policies.policy import KNOBS, LayerPolicy, Quantization
from paretune.spaces.policies.space import SpaceSettings
from paretune.spaces.policies.targets import ETHOS_U_FORMATS, Target

_FORMATS = "quantization"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aimed:
    """What is left to search once the target has had its say.

    Attributes:
        space: With the target's defaults for what the experiment leaves open.
        notes: What was settled, and why; a sentence each.
    """

    space: SpaceSettings
    notes: tuple[str, ...] = ()


def target_objectives(target: Target, *, has_device: bool) -> tuple[str, ...]:
    """Return what is traded off where the experiment does not say."""
    return target.device_objectives if has_device and target.device_objectives else target.objectives


def aim(space: SpaceSettings, target: Target | None, objectives: Sequence[str]) -> Aimed:
    """Fill in what an experiment leaves open: knobs that do not pay on the target stay as they are, formats go.

    Args:
        space: As the experiment has it. What it says about a knob, for all layers or for some, stands.
        target: Where files are to run; ``None`` where it does not say.
        objectives: What is optimised or bounded. Those of Ethos-U leave its formats alone, whatever the target.
    """
    choices: dict[str, tuple[Any, ...]] = {}
    notes: list[str] = []
    if target is not None:
        untouched = LayerPolicy()
        for knob, reason in target.frozen_knobs.items():
            if knob in KNOBS and knob not in space.choices:
                choices[knob] = (getattr(untouched, knob),)
                notes.append(f"{target.name}: no {knob}: {reason}.")
        if _FORMATS not in space.choices and target.no_formats:
            choices[_FORMATS] = _formats(target.formats)
            notes += _format_notes(target)
    elif _FORMATS not in space.choices and asks_vela(objectives):
        choices[_FORMATS] = _formats(ETHOS_U_FORMATS)
        notes.append(f"Ethos-U objectives: only {_listed(ETHOS_U_FORMATS)}, which is all that it computes in.")
    return Aimed(space=replace(space, choices={**choices, **space.choices}), notes=tuple(notes))


def asks_vela(objectives: Sequence[str]) -> bool:
    """Return whether something is asked that Vela tells."""
    return any(name.startswith("vela_") for name in objectives)


def require_ethos_u_formats(space: SpaceSettings, problems: Problems) -> None:
    """Add a problem for each place that offers a format which Ethos-U does not compute in."""
    places: list[tuple[Place, str, Sequence[Quantization]]] = []
    if _FORMATS in space.choices:
        places.append((("space", _FORMATS), "", space.choices[_FORMATS]))
    for name, knobs in space.layers.items():
        if _FORMATS in knobs:
            places.append((("space", "layers", name, _FORMATS), name, knobs[_FORMATS]))
    for name, pinned in space.pinned.items():
        found = pinned.get(_FORMATS, Quantization.FLOAT32)
        places.append((("space", "pinned", name), name, (found,)))
    for place, layer, formats in places:
        others = [form for form in formats if form not in ETHOS_U_FORMATS]
        if others:
            problems.add(
                place,
                f"Ethos-U objectives need `{_FORMATS}` of {_listed(ETHOS_U_FORMATS)} alone, got {_listed(others)}.",
                layer=layer,
            )


def _formats(offered: Sequence[Quantization]) -> tuple[Quantization, ...]:
    return tuple(form for form in DEFAULT_CHOICES[_FORMATS] if form in offered)


def _format_notes(target: Target) -> list[str]:
    by_reason: dict[str, list[Quantization]] = {}
    for form, reason in target.no_formats.items():
        if form in DEFAULT_CHOICES[_FORMATS]:
            by_reason.setdefault(reason, []).append(form)
    return [f"{target.name}: no {_listed(forms)}: {reason}." for reason, forms in by_reason.items()]


def _listed(formats: Sequence[Quantization]) -> str:
    return ", ".join(map(str, formats))
