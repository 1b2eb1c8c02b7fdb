"""Kinds of values that options of commands take."""

from __future__ import annotations

import math
from typing import Any

import click


class Number(click.FloatRange):
    """A number in a range: `nan` is in none."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        """The number; infinite ones and NaN are refused."""
        number = super().convert(value, parameter, context)
        return number if math.isfinite(number) else self.fail(f"{value} is no finite number.", parameter, context)
