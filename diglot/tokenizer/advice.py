"""Whether an extension is worth it for a base and a language, and how many tokens: the verdict and its reason.

What speaks for it is the share of tokens saved, in training and for ever after; against it, rows that are to be learnt and a
larger output layer in every step. Both are in what a word costs:

    cost(n) = tokens per word with n new tokens · (1 + n · hidden size / parameters)

where the model is known: a forward pass costs two operations a parameter and token (Kaplan et al. 2020, 2001.08361, 2.1),
and each new row of the output is hidden size parameters more. Without a model it is tokens per word alone. As many tokens
are advised as there are doublings that lower this cost by `DOUBLING` and more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from diglot.base.format import digits, number, share

STEPS = (1000, 2000, 4000, 8000, 16_000, 32_000)  # new tokens that are looked at
# Three numbers of ours. An extension costs once: new rows, and 0.1 bits per byte of English on the spot in the table of
# docs/tokenizer.md; it took our new rows 1,450 to 9,627 tokens to be back where the base stood. Under a tenth saved, that and
# a changed tokenizer in every tool are not worth it; from three tenths on a training run of any length pays it back.
HARDLY, CLEARLY = 0.1, 0.3
DOUBLING = 0.05  # saved by twice as many tokens; below, half of the new rows stand for a twentieth of the text


class BaseModel(NamedTuple):
    """What a new row costs a model.

    Attributes:
        hidden_size: numbers in a row.
        tied: input and output share their rows.
        parameters: of the whole model.
    """

    hidden_size: int
    tied: bool
    parameters: int

    def rows(self, new_tokens: int) -> int:
        """Parameters that so many new tokens add."""
        return new_tokens * self.hidden_size * (1 if self.tied else 2)

    def dearer(self, new_tokens: int) -> float:
        """By how much every token costs more, 1 for not at all."""
        return 1 + new_tokens * self.hidden_size / self.parameters


class Advice(NamedTuple):
    """What is advised for one base and one language.

    Attributes:
        curve: [new tokens, tokens per word], from the base on.
        new_tokens: advised; 0: leave the tokenizer as it is.
        saved: share of tokens saved with these, or, where none are advised, with the most that were looked at.
        model: of the base, where known.
        grade: `worth it`, `perhaps` or `not worth it`.
        reason: a sentence or two.
    """

    curve: list[tuple[int, float]]
    new_tokens: int
    saved: float
    model: BaseModel | None
    grade: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        """For scripts: the fields, and parameters in new rows."""
        rows = self.model.rows(self.new_tokens) if self.model else None
        return {**self._asdict(), "model": self.model._asdict() if self.model else None, "new_parameters": rows}


def at_steps(curve: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """A curve at its beginning, at the STEPS within it and at its end; between two points it is a straight line."""
    ends = curve[0], curve[-1]
    steps = [step for step in STEPS if ends[0][0] < step < ends[1][0]]
    found = [ends[0]]
    for step in steps:
        after = next(place for place, (new_tokens, _) in enumerate(curve) if new_tokens >= step)
        (low, dear), (high, cheap) = curve[after - 1], curve[after]
        found.append((step, dear + (cheap - dear) * (step - low) / (high - low)))
    return [*found, ends[1]] if ends[1] != ends[0] else found


def advise(curve: Sequence[tuple[int, float]], model: BaseModel | None = None) -> Advice:
    """The verdict on an extension.

    Args:
        curve: [new tokens, tokens per word], from the base (0 new tokens) on, in order; see `STEPS`.
        model: of the base; None where it is not known.
    """
    curve = list(curve)
    costs = [fertility * (model.dearer(new_tokens) if model else 1) for new_tokens, fertility in curve]
    best = 0
    for place in range(1, len(curve)):
        # The first step is from nothing, which no number of doublings reaches: it is taken as one.
        doublings = math.log2(curve[place][0] / curve[place - 1][0]) if curve[place - 1][0] else 1.0
        if costs[place] < costs[0] and 1 - (costs[place] / costs[place - 1]) ** (1 / doublings) >= DOUBLING:
            best = place
    gain = 1 - costs[best] / costs[0]
    if gain < HARDLY:
        # The end of the curve shows best that there is little to win, or that it is paid for with rows.
        saved = 1 - curve[-1][1] / curve[0][1]
        return Advice(curve, 0, saved, model, "not worth it", _against(curve))
    grade = "worth it" if gain >= CLEARLY else "perhaps"
    saved = 1 - curve[best][1] / curve[0][1]
    return Advice(curve, curve[best][0], saved, model, grade, _for(curve, best, model, grade, gain))


def _for(curve: list[tuple[int, float]], best: int, model: BaseModel | None, grade: str, gain: float) -> str:
    """Why, and why not more or fewer."""
    (new_tokens, fertility), before = curve[best], curve[0][1]
    text = (
        f"{number(new_tokens)} new tokens take {before:.2f} tokens per word to {fertility:.2f}: "
        f"{share(1 - fertility / before)} fewer tokens to train on and to write"
    )
    if model:
        text += (
            f"; {_millions(model.rows(new_tokens))} parameters in new rows, {share(model.rows(new_tokens) / model.parameters)} "
            f"of the model; {share(gain)} less work for the same text"
        )
    if best == len(curve) - 1:
        text += ". More were not looked at and may save more"
    else:
        more, cheaper = curve[best + 1]
        text += f". The next, up to {number(more)}, would save {share(1 - cheaper / fertility)} more, too little for their rows"
    return text + (". It pays where much is trained or written in this language." if grade == "perhaps" else ".")


def _against(curve: list[tuple[int, float]]) -> str:
    """Why not."""
    (new_tokens, fertility), before = curve[-1], curve[0][1]
    if len(curve) == 1:
        return f"{before:.2f} tokens per word, and no text to learn new tokens from."
    return (
        f"{before:.2f} tokens per word, and {number(new_tokens)} new tokens would still leave {fertility:.2f}, "
        f"{share(1 - fertility / before)} fewer tokens: too little for their rows and for another tokenizer."
    )


def _millions(count: int) -> str:
    return f"{digits(count / 1e6)} million"
