"""What a train stage reads: its data order, and answers about it before, during and after the training.

The order is a function of the stage's settings, the recipe's seed and the tokens, so all answers are evaluations of it:
nothing needs to have been trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from diglot.base.artifact import fingerprint
from diglot.base.errors import UserError
from diglot.recipe.train import Train
from diglot.tokenizer.folder import load_tokenizer
from diglot.tokens.mixture import PhasePlan
from diglot.tokens.order import Order, joined
from diglot.tokens.shards import TokenSource, open_tokens
from diglot.train.record import RunRecord, check_sources, read_record, step_sizes
from diglot.train.rollbacks import Rollbacks
from diglot.train.schedule import phase_steps

FORMS = {"lm": ("text", "chat"), "sft": ("chat",), "dpo": ("pairs",)}  # that an objective can read
FIRST_WORDS = 32  # tokens that are decoded to show what a document is about


def phase_plans(settings: Train) -> list[PhasePlan]:
    """A stage's phases as its data order has them."""
    return [
        PhasePlan(phase.name, steps, phase.mixture, phase.max_epochs, phase.ramp)
        for phase, steps in zip(settings.phases, phase_steps(settings.phases, settings.steps))
    ]


def open_order(
    settings: Train,
    recipe_seed: int,
    tokens: Sequence[Path],
    model: Path | None,
    rollbacks: Rollbacks,
    tokenizer_hash: str | None = None,
) -> tuple[Order, RunRecord]:
    """The data order of a train stage, and the record of the run as planned.

    Args:
        settings: the stage's.
        recipe_seed: the recipe's.
        tokens: folders of its token artifacts.
        model: folder of the model that it starts from; needed where it continues a run.
        rollbacks: of the stage so far; what they skip is left out.
        tokenizer_hash: that the tokens must have been made with; any where it is None.

    Raises:
        UserError: no tokens, tokens of another tokenizer or of other sources than the continued run's, or a plan that
            they do not allow.
    """
    sources = open_tokens(tokens, tokenizer_hash, "train")
    seed, previous, skipped = order_seed(recipe_seed, settings), tuple[PhasePlan, ...](), rollbacks.ranges()
    if settings.continues == "run":  # its order goes on: same seed, and what it has done comes first
        assert model is not None
        record = read_record(model, settings)
        check_sources(record, sources)
        seed, previous, skipped = record.seed, record.phases, joined([*record.skipped, *skipped])
    order = data_order(settings, sources, seed, previous).skipping(skipped)
    contents = {source.name: source.content for source in order.sources}
    planned = (*previous, *phase_plans(settings))
    return order, RunRecord(seed, planned, contents, step_sizes(settings), skipped)


def data_order(
    settings: Train, sources: Mapping[str, TokenSource], seed: int, previous: Sequence[PhasePlan] = ()
) -> Order:
    """The data order of a train stage, with nothing skipped.

    Args:
        settings: the stage's.
        sources: training sources by name, of any form.
        seed: of the order; see `order_seed`.
        previous: phases of the run that the stage goes on from.

    Raises:
        UserError: no source has the form that the objective needs, or see `Order`.
    """
    forms = FORMS[settings.objective]
    usable = {name: source for name, source in sources.items() if source.form in forms}
    if not usable:
        there = ", ".join(f"{name} ({source.form})" for name, source in sources.items()) or "none"
        raise UserError(f"objective {settings.objective} needs {' or '.join(forms)} tokens; there are: {there}")
    sizes = settings.batch_size, settings.sequence_length
    return Order(usable, phase_plans(settings), *sizes, seed, previous, settings.document_weights)


def order_seed(recipe_seed: int, settings: Train) -> int:
    """The seed of a stage's data order; what the stage is called plays no part."""
    return int(fingerprint([recipe_seed, settings.seed])[:8], 16)


@dataclass
class Data:
    """The data of one train stage, to be asked about.

    Attributes:
        stage: its name.
        settings: its settings.
        order: its order.
        tokenizer: decodes first words; None where it is not at hand.
    """

    stage: str
    settings: Train
    order: Order
    tokenizer: Tokenizer | None

    @classmethod
    def open(
        cls,
        stage: str,
        settings: Train,
        tokens: Sequence[Path],
        tokenizer: Path | None,
        model: Path | None,
        recipe_seed: int,
        rollbacks: Rollbacks,
    ) -> Data:
        """Open the tokens of a stage.

        Args:
            stage: its name.
            settings: its settings.
            tokens: folders of its token artifacts.
            tokenizer: folder of the tokenizer that made them.
            model: folder of the model that it starts from; needed where it continues a run.
            recipe_seed: the recipe's.
            rollbacks: of this stage so far.

        Raises:
            UserError: see `open_order`.
        """
        order, _ = open_order(settings, recipe_seed, tokens, model, rollbacks)
        return cls(stage, settings, order, load_tokenizer(tokenizer) if tokenizer else None)

    def mixture(self) -> dict[str, Any]:
        """Planned and realised shares, by phase and source, with epochs and packing efficiency."""
        rows = {
            phase.name: {
                "steps": steps,
                "ramp": phase.ramp,
                "sources": self._with_caps(phase.max_epochs, self.order.realised(phase.name)),
            }
            for phase, steps in zip(self.settings.phases, phase_steps(self.settings.phases, self.settings.steps))
        }
        return {
            "stage": self.stage,
            "phases": rows,
            "dropped_as_too_long": dict(self.order.dropped),
            "documents": self.order.num_documents,
        }

    def _with_caps(self, caps: Mapping[str, float], realised: dict[str, dict[str, Any]]) -> dict[str, Any]:
        languages = {source.name: source.language for source in self.order.sources}
        return {
            name: {**entry, "max_epochs": caps.get(name, caps.get(languages[name]))} for name, entry in realised.items()
        }

    def at_step(self, step: int) -> dict[str, Any]:
        """What a step reads, in the order of its rows; steps count from 1, as in the metrics.

        Raises:
            UserError: there is no such step.
        """
        if not 1 <= step <= self.order.num_steps:
            raise UserError(f"step {step}: stage {self.stage!r} has steps 1 to {self.order.num_steps}")
        fragments = self.order.fragments(step - 1)
        documents = []
        for row, number, (name, document_id, epoch, first, end) in zip(
            fragments.row.tolist(), fragments.document.tolist(), self.order.documents(step - 1), strict=True
        ):
            source = self.order.sources[self.order.names.index(name)]
            documents.append(
                {
                    "row": row,
                    "source": name,
                    "id": document_id,
                    "epoch": epoch + 1,
                    "from": first,
                    "to": end,
                    "words": self._words(source, number, first, end),
                }
            )
        full = float(fragments.length.sum() / (self.order.batch_size * self.order.sequence_length))
        phase = self.order.phase(step - 1)
        return {"stage": self.stage, "step": step, "phase": phase, "packing_efficiency": full, "documents": documents}

    def _words(self, source: TokenSource, document: int, first: int, end: int) -> str:
        if self.tokenizer is None:
            return ""
        begin = int(source.offsets[document]) + first
        ids = source.tokens[begin : begin + min(FIRST_WORDS, end - first)].tolist()
        return " ".join(self.tokenizer.decode(ids, skip_special_tokens=True).split())

    def of_document(self, wanted: str) -> dict[str, Any]:
        """The steps that read a document, given as SOURCE:ID.

        Raises:
            UserError: no such source or document.
        """
        name, colon, document_id = wanted.partition(":")
        if not colon or name not in self.order.names:
            raise UserError(
                f"--document {wanted}: give SOURCE:ID; sources of stage {self.stage!r}: {', '.join(self.order.names)}"
            )
        found = self.order.sources[self.order.names.index(name)].find_documents(document_id)
        if not found:
            raise UserError(f"--document {wanted}: source {name!r} has no training document {document_id!r}")
        occurrences = [
            {
                "step": found.step + 1,
                "phase": self.order.phase(found.step),
                "epoch": found.epoch + 1,
                "from": found.first,
                "to": found.end,
            }
            for document in found
            for found in self.order.occurrences(name, document)
        ]
        return {"stage": self.stage, "source": name, "id": document_id, "occurrences": occurrences}
