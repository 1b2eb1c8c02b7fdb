"""Staged freezing: what each phase of a run trains.

    trains                 moves                                                             after
    all                    everything
    embeddings             embeddings and output weight
    new-rows               the rows of new tokens in the embedding and the output weight     EEVE, 2402.14714
    new-layers             the layers that `expand` added                                    Kuwain, 2504.15120
    new-rows-and-layers    both

With an adapter (adapter.py), `all` is the adapter and the new rows; `new-rows` are they alone.

Which rows and layers are new stands in the model's folder, in `diglot-expansion.json`; every train stage hands the file
on. What a phase does not train gets no gradient, so it costs no gradient either (a phase of new rows still needs
those of the hidden states, down to the embedding).

Rows are slices of the part of a parameter that lies on this process. They come from a mask that is cut as the parameter
is, so they hold for any way of sharding it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from diglot.base.errors import UserError
from diglot.base.files import read_json
from diglot.model.causal import CausalModel, ModelConfig
from diglot.model.weights import EXPANSION
from diglot.recipe.train import Phase
from diglot.train.adapter import adapter_parameters
from diglot.train.optimizer import Rows, parameter_groups
from diglot.train.parts import part_of


@dataclass(frozen=True)
class Expansion:
    """What an expansion added to a model.

    Attributes:
        new_rows: first row and end of each run of rows of new tokens.
        new_layers: indices of new layers, from 0.
    """

    new_rows: tuple[tuple[int, int], ...] = ()
    new_layers: tuple[int, ...] = ()


Selection = dict[Tensor, Rows | None]  # what a phase trains; None: the parameter whole


def read_expansion(folder: Path, config: ModelConfig) -> Expansion:
    """What was added to the model in a folder; nothing where the file is absent.

    Raises:
        UserError: the file is broken, or names rows or layers that the model does not have.
    """
    file = folder / EXPANSION
    if not file.is_file():
        return Expansion()
    try:
        stored = read_json(file)
        rows = tuple((int(start), int(end)) for start, end in stored["new_rows"])
        layers = tuple(int(layer) for layer in stored["new_layers"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{file}: expected {{"new_rows": [[start, end], …], "new_layers": [index, …]}}, but: {error!r}'
        ) from error
    if any(not 0 <= start < end <= config.vocabulary_size for start, end in rows):
        raise UserError(f"{file}: new_rows lie outside the model's {config.vocabulary_size} rows")
    if any(not 0 <= layer < config.num_layers for layer in layers):
        raise UserError(f"{file}: new_layers lie outside the model's {config.num_layers} layers")
    return Expansion(rows, layers)


def select(model: CausalModel, expansion: Expansion, phase: Phase) -> Selection:
    """The parameters that a phase trains, and which of their rows.

    Args:
        model: the model.
        expansion: what is new in it.
        phase: the phase; `all` of an adapter has the new rows too, where there are some.

    Raises:
        UserError: the phase trains what the model does not have, or nothing at all.
    """
    groups = parameter_groups(model)
    if unknown := sorted(set(phase.learning_rate_multipliers) - set(groups)):
        raise UserError(
            f"phase {phase.name!r}: learning_rate_multipliers.{unknown[0]} would do nothing: the model has no such parameters"
            + (
                " (its output weight is its embedding: give learning_rate_multipliers.embeddings)"
                if "output" in unknown
                else ""
            )
        )
    selection: Selection = {}
    adapter = adapter_parameters(model)
    if phase.trains == "all":
        selection = dict.fromkeys(adapter or model.parameters())
    if phase.trains == "embeddings":
        selection = dict.fromkeys([*groups["embeddings"], *groups.get("output", [])])
    beside_an_adapter = bool(adapter and expansion.new_rows and phase.trains == "all")
    if phase.trains in ("new-rows", "new-rows-and-layers") or beside_an_adapter:
        _require(expansion.new_rows, phase, "rows of new tokens", "whose tokenizer was extended")
        # A tied embedding is one parameter and is listed once.
        tables = [model.embedding.weight, *groups.get("output", [])]
        selection |= {table: find_rows(table, expansion.new_rows) for table in tables}
    if phase.trains in ("new-layers", "new-rows-and-layers"):
        _require(expansion.new_layers, phase, "new layers", "with new_layers above 0")
        for layer in expansion.new_layers:
            selection |= dict.fromkeys(model.layers[layer].parameters())
    if adapter:
        _refuse_idle_multipliers(phase, selection, groups)
    # A multiplier of 0 freezes what the phase would train.
    frozen = {
        p for name, multiplier in phase.learning_rate_multipliers.items() if multiplier == 0 for p in groups[name]
    }
    selection = {parameter: rows for parameter, rows in selection.items() if parameter not in frozen}
    if not selection:
        raise UserError(f"phase {phase.name!r} trains nothing: its learning_rate_multipliers are 0")
    return selection


def _refuse_idle_multipliers(phase: Phase, selection: Selection, groups: dict[str, list[nn.Parameter]]) -> None:
    for name in phase.learning_rate_multipliers:
        if not any(parameter in selection for parameter in groups[name]):
            raise UserError(
                f"phase {phase.name!r}: learning_rate_multipliers.{name} would do nothing beside the adapter"
            )


def _require(found: Sequence[object], phase: Phase, what: str, how: str) -> None:
    if not found:
        raise UserError(
            f"phase {phase.name!r} trains {phase.trains}, but the model has no {what} (in {EXPANSION}): start from a "
            f"model that `do: expand` made {how}, or set trains: all"
        )


def find_rows(parameter: Tensor, new_rows: Sequence[tuple[int, int]]) -> Rows:
    """The rows of a parameter that lie on this process, cut into runs of new and of other rows."""
    mask_V = torch.zeros(parameter.shape[0], dtype=torch.bool)
    for start, end in new_rows:
        mask_V[start:end] = True
    mask_V = part_of(mask_V[:, None].expand(parameter.shape), parameter).any(dim=1)
    changes = (mask_V[1:] != mask_V[:-1]).nonzero().flatten() + 1
    bounds = [0, *changes.tolist(), len(mask_V)]
    runs = [slice(start, end) for start, end in itertools.pairwise(bounds) if start < end]
    return Rows([run for run in runs if mask_V[run.start]], [run for run in runs if not mask_V[run.start]])


def restarts(selections: Sequence[Selection], index: int) -> list[Tensor]:
    """The parameters whose moments start afresh with a phase: those that it trains whole, and the last phase to train
    them trained in rows.

    AdamW counts steps by parameter. The other rows have moments of zero under the count of the new rows, which takes
    away their bias correction: with beta2 = 0.999 they would be moved at up to 6.6 times the learning rate.

    Args:
        selections: what each phase trains; only phases that have steps.
        index: of the phase.
    """
    found = []
    for parameter, rows in selections[index].items():
        before = [selection[parameter] for selection in selections[:index] if parameter in selection]
        if rows is None and before and before[-1] is not None:
            found.append(parameter)
    return found


def held_moments(selections: Sequence[Selection], index: int) -> set[Tensor]:
    """The parameters that have moments during a phase: those that it trains, and those with which a later phase goes on.

    Args:
        selections: what each phase trains; only phases that have steps.
        index: of the phase.
    """
    found = set(selections[index])
    for parameter in set().union(*selections[:index]) - found:
        later = next((i for i, each in enumerate(selections) if i > index and parameter in each), None)
        if later is not None and all(parameter is not restarted for restarted in restarts(selections, later)):
            found.add(parameter)
    return found
