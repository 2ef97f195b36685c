"""What pydantic finds wrong with an experiment file, in the words of this project."""

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from paretune.experiments.config.schema import ExperimentSection, Section
from paretune.experiments.config.yaml_reader import Place
from paretune.spaces.suggest import nearest

_MUST_BE = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


def problems_of(error: ValidationError) -> list[tuple[Place, str]]:
    """Return every problem as the place it stands at and one sentence."""
    return [(_place(details), _in_words(details)) for details in error.errors(include_url=False)]


def _place(details: ErrorDetails) -> Place:
    place = details["loc"]
    return place[:-1] if details["type"] == "missing" else place


def _in_words(details: ErrorDetails) -> str:
    place, kind, got = details["loc"], details["type"], details["input"]
    name = dotted(place)
    context = details.get("ctx", {})
    if kind == "extra_forbidden":
        inside = f" in `{dotted(place[:-1])}`" if len(place) > 1 else ""
        known = _known_keys(place[:-1])
        return f"Unknown key '{place[-1]}'{inside}; known are {', '.join(known)}.{nearest(str(place[-1]), known)}"
    if kind == "missing":
        return f"`{name}` must be given."
    if kind == "literal_error":
        return f"`{name}` must be {context['expected']}, got {got!r}."
    if kind in ("greater_than", "greater_than_equal"):
        bound = f"above {context['gt']:g}" if "gt" in context else f"at least {context['ge']:g}"
        return f"`{name}` must be {bound}, got {got!r}."
    if kind in ("too_short", "string_too_short"):
        return f"`{name}` must not be empty."
    wanted = _MUST_BE.get(kind)
    if wanted is None:
        return f"`{name}`: {details['msg']}, got {got!r}."
    keys = f" of {', '.join(_known_keys(place))}" if kind == "model_type" else ""
    return f"`{name}` must be {wanted}{keys}, got {_shown(got)}."


def dotted(place: Place) -> str:
    """Return a place as people write it, such as ``space.sparsity``; the position in a list is left to the line."""
    return ".".join(part for part in place if isinstance(part, str))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else repr(value)


def _known_keys(place: Place) -> Sequence[str]:
    """Return the keys of the section that stands at a place."""
    section: type[Section] = ExperimentSection
    for part in place:
        field = section.model_fields.get(str(part))
        if field is not None:
            section = _section_in(field.annotation) or section
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[Section] | None:
    """Return the section that an annotation such as ``dict[str, KnobsSection]`` speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    found = (_section_in(argument) for argument in get_args(annotation))
    return next((section for section in found if section is not None), None)
