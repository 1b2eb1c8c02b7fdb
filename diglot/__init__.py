"""Diglot teaches language models new languages: from raw text to a chat model, with the evidence.

In Python: `open_run`, `load_model` and `run_stage` (docs/python.md).
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from diglot.notebook import Run, load_model, open_run, run_stage

__all__ = ["Run", "__version__", "load_model", "open_run", "run_stage"]


def __getattr__(name: str) -> Any:
    """What notebooks use, imported when it is: torch and Arrow take seconds."""
    if name not in __all__:
        raise AttributeError(f"module 'diglot' has no attribute {name!r}")
    # start-up: everything else is in a hurry
    from diglot import notebook

    return getattr(notebook, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
