"""Writes docs/settings.md, every setting of every kind of stage, and docs/recipe.schema.json, which editors complete recipes
by: both from the classes that check recipes.

python docs/make_settings.py
"""

import json
from pathlib import Path

from pydantic.fields import FieldInfo

from diglot.recipe import STAGES, json_schema
from diglot.recipe.common import Settings
from diglot.recipe.described import default_of, settings_in, untold_choices

PAGE = Path(__file__).resolve().parent / "settings.md"
SCHEMA = PAGE.with_name("recipe.schema.json")
HEAD = """# Settings

Made by `make docs` from `diglot/recipe/`: every kind of stage with what it reads and makes, and all its settings. A
recipe gives them under the stage, an override as `stage.key=value`, the stage's own command as `--key value`.
"""


def page() -> str:
    """The page."""
    inner: dict[type[Settings], None] = {}
    parts = [HEAD]
    for kind, stage in STAGES.items():
        reads = ", ".join(
            f"`{role}` ({'any artifact' if needs.kinds is None else needs}{'' if needs.required else ', optional'})"
            for role, needs in stage.reads.items()
        )
        about = f"{doc(stage)}\n\nReads {reads or 'nothing of the run'}; makes `{stage.makes}`.\n"
        parts.append(f"## {kind}\n\n{about}\n{table(stage, inner)}")
    parts.append("## Inside other settings\n")
    waiting = list(inner)
    while waiting:
        settings = waiting.pop(0)
        more: dict[type[Settings], None] = {}
        parts.append(f"### {settings.__name__}\n\n{doc(settings)}\n\n{table(settings, more)}")
        waiting += [each for each in more if each not in inner]
        inner |= more
    return "\n".join(parts)


def schema() -> str:
    """The JSON Schema of recipes."""
    return json.dumps(json_schema(), ensure_ascii=False, indent=1) + "\n"


def doc(settings: type[Settings]) -> str:
    """A class's first sentence or paragraph in one line."""
    return " ".join((settings.__doc__ or "").split("\n\n")[0].split())


def table(settings: type[Settings], inner: dict[type[Settings], None]) -> str:
    """The settings of a class; the classes of nested ones are added to `inner`."""
    rows = ["| setting | default | what it is for |", "|---|---|---|"]
    for name, field in settings.model_fields.items():
        if name in ("do", "from_"):
            continue
        nested = settings_in(field)
        inner |= dict.fromkeys(nested)
        links = "".join(f" ([{each.__name__}](#{each.__name__.lower()}))" for each in nested)
        words = [] if nested else untold_choices(field)
        choices = f" One of {', '.join(f'`{word}`' for word in words)}." if words else ""
        rows.append(f"| `{name}` | {default(field)} | {cell(field.description or '')}{links}{choices} |")
    return "\n".join(rows) + "\n"


def default(field: FieldInfo) -> str:
    """The default as a recipe would say it; in bold where there is none."""
    if field.is_required():
        return "**must be given**"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Settings) or (isinstance(value, list) and value and isinstance(value[0], Settings)):
        return "its own"
    shown = default_of(field)
    return f"`{cell(shown)}`" if shown else ""


def cell(text: str) -> str:
    """Text for a table."""
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")
