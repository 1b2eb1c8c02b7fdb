"""Settings of the report."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from diglot.recipe.common import Role, Stage


class Report(Stage):
    """One offline HTML page about a whole run."""

    makes: ClassVar[str] = "report"
    reads: ClassVar[dict[str, Role]] = {"stages": Role(kinds=None, many=True)}
    reads_everything: ClassVar[bool] = True
    function: ClassVar[str] = "diglot.report.page:run"
    position: ClassVar[int] = 120
    version: ClassVar[int] = 3
    extra: ClassVar[str | None] = "report"

    do: Literal["report"] = "report"
    title: str | None = Field(None, description="Of the page.")
    before: str | None = Field(None, description="The evaluate stage to compare with; the first if absent.")
    after: str | None = Field(None, description="The evaluate stage to show; the last if absent.")
    price: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Of an hour of the machine, in any currency, for the first screen's cost.", examples=["2.5"]
    )
