"""The file of a table: recorded measurements as arrays over the policies of a grid."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from grids import Grid

from paretune.search.front import non_dominated
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.space import Space

RUNGS = tuple(Rung)
_BY_LAYER = ("zeros", "rounding_zeros", "distinct", "deflated_bytes")


def number_of(choice: dict[str, int], space: Space) -> int:
    """Return the place of a combination of choices among all; the last parameter varies fastest."""
    number = 0
    for parameter in space.parameters:
        number = number * len(parameter.choices) + choice[parameter.name]
    return number


def front_of(folder: Path, space: Space) -> list[dict[str, int]]:
    """Return the choices whose ``full`` measurements no other dominates in accuracy and size."""
    rows = [row for row in _rows(folder) if row["rung"] == Rung.FULL and row["seed"] == 0]
    costs = np.array([[-row["values"]["accuracy"], row["values"]["size_bytes"]] for row in rows])
    return [row["choice"] for row, kept in zip(rows, non_dominated(costs), strict=True) if kept]


def write_table(grid: Grid, folder: Path, space: Space) -> None:
    """Write what was recorded in ``folder`` as one compressed file of NumPy arrays.

    Arrays, for P policies, R rungs (in the order of ``Rung``) and L layers: ``values`` (P, R, names), ``seconds``
    (P, R) of export and measurement, ``clean`` (P, R), four counts by layer (P, R, L), ``stored_as`` (P, R, L) as
    numbers of ``words``; seconds of a trained stage by the choices it depends on in ``stages``, JSON; and the
    measurements of other seeds, JSON. ``about`` is JSON: description, names of the values, baseline.
    """
    baseline = json.loads((folder / "baseline.json").read_text())
    names = [name for name in baseline["values"] if name not in ("macs", "parameters", "raw_bytes", "latency_ratio")]
    shape, layers = (space.cardinality, len(RUNGS)), len(space.layers)
    values = np.full((*shape, len(names)), np.nan)
    latency = np.ones(space.cardinality)
    seconds = np.full(shape, np.nan, np.float32)
    clean = np.zeros(shape, bool)
    counts = {name: np.zeros((*shape, layers), np.int32) for name in _BY_LAYER}
    words: list[str] = []
    stored = np.zeros((*shape, layers), np.uint8)
    stages: dict[str, float] = {}
    noise = []
    for row in _rows(folder):
        if row["seed"]:
            noise.append({"policy": number_of(row["choice"], space), "seed": row["seed"], "values": row["values"]})
            continue
        place = (number_of(row["choice"], space), RUNGS.index(Rung(row["rung"])))
        values[place] = [row["values"][name] for name in names]
        if row["rung"] == Rung.FULL:
            latency[place[0]] = row["values"]["latency_ratio"]
        seconds[place] = row["seconds"]["export"] + row["seconds"]["measure"]
        clean[place] = row["clean"]
        for name in _BY_LAYER:
            counts[name][place] = row[name]
        words += [word for word in dict.fromkeys(row["stored_as"]) if word not in words]
        stored[place] = [words.index(word) for word in row["stored_as"]]
        policy = space.policy(row["choice"])
        for stage in ("prune", "cluster", "quantize"):
            if stage in row["seconds"]:
                stages[stage_key(stage, policy, Rung(row["rung"]))] = round(row["seconds"][stage], 4)
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).any(axis=(1, 2)).sum())} policies of the grid are not recorded")
    about = {**baseline, "names": names, "words": words, "grid": grid.name}
    np.savez_compressed(
        grid.file,
        values=values.astype(np.float32),
        latency=latency.astype(np.float32),
        seconds=seconds,
        clean=clean,
        stored_as=stored,
        about=json.dumps(about),
        stages=json.dumps(stages),
        noise=json.dumps(noise),
        **counts,
    )


def stage_key(stage: str, policy: Any, rung: Rung) -> str:
    """Return what the training of a stage depends on: the sparsities, and from the cluster stage on the clusters."""
    decided = [(name, layer.sparsity, layer.clusters if stage != "prune" else None) for name, layer in policy.items()]
    if stage == "quantize":
        decided = [(*entry, policy[entry[0]].quantization.value) for entry in decided]
    return f"{rung.value} {stage} {json.dumps(decided)}"


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted([*folder.glob("[0-9]*.json"), *folder.glob("noise-*.json")]):
        yield from json.loads(file.read_text())
