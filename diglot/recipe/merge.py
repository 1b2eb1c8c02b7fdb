"""Settings of merging."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from diglot.recipe.common import Role, Stage
from diglot.recipe.train import Train


class Merge(Stage):
    """Merge the weights of models that share a vocabulary, row by row in the order of token strings."""

    makes: ClassVar[str] = "model"
    reads: ClassVar[dict[str, Role]] = {"models": Role(("model",), many=True), "base": Role(("model",), required=False)}
    main_role: ClassVar[str | None] = "models"
    function: ClassVar[str] = "diglot.merge.stage:run"
    position: ClassVar[int] = 100
    version: ClassVar[int] = 2
    checks_inputs_whole: ClassVar[bool] = True

    do: Literal["merge"] = "merge"
    method: Literal["linear", "slerp", "task-arithmetic", "ties", "dare", "dare-ties"] = Field(
        "linear",
        description="linear: weighted mean; slerp: between two, along the sphere; task-arithmetic (2212.04089), ties "
        "(2306.01708), dare (2311.03099): of what the models learnt since their `base`.",
    )
    weights: list[float] | None = Field(
        None,
        description="One a model, in the order of `from`; equal shares if absent. linear and slerp divide them by "
        "their sum; the others take them as they are.",
        examples=["[0.6, 0.4]"],
    )
    last: Annotated[int, Field(ge=2)] | None = Field(
        None, description="Merge the last models that one train stage kept (its exports), the final one included."
    )
    density: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="Share of each difference from the base that is kept: ties the largest (0.2 if absent; 2306.01708), "
        "dare a random choice (0.1 if absent; 2311.03099).",
    )
    scale: Annotated[float, Field(gt=0)] = Field(1.0, description="Of the merged difference from the base; 2306.01708.")
    seed: int = Field(0, description="Of dare's choice.")

    @model_validator(mode="after")
    def _settings_of_the_method(self) -> Merge:
        of_means = self.method in ("linear", "slerp")
        if self.density is not None and self.method not in ("ties", "dare", "dare-ties"):
            raise ValueError(f"density would do nothing: it belongs to ties and dare, the method is {self.method}")
        if self.scale != 1 and of_means:
            raise ValueError(f"scale would do nothing: {self.method} has no base")
        if self.from_:
            roles = self.reads_from()
            if of_means == bool(roles.get("base")):
                needs = "has no base" if of_means else "needs the model that all began from: base in `from`"
                raise ValueError(f"method {self.method} {needs}")
            if self.last is not None and len(roles.get("models", [])) > 1:
                raise ValueError("last takes the models that one stage kept: name one in `from`")
        return self

    def refuses(self, role: str, other: Stage, step: int | None) -> str | None:
        """`last` reads a train stage that keeps so many models."""
        if role != "models" or self.last is None:
            return None
        if not isinstance(other, Train) or step is not None:
            return "last takes the models that a train stage kept: name the stage, without a step"
        if len(other.kept_steps()) < self.last:
            kept = ", ".join(map(str, other.kept_steps()))
            return f"last is {self.last}, but it keeps only the models of steps {kept}: give it export_every"
        return None
