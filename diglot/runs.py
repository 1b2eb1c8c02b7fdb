"""Where runs and models lie: from a folder, a recipe's file, or a name under runs/, as a user writes it."""

from __future__ import annotations

import contextlib
import difflib
from pathlib import Path

from diglot.base.artifact import MANIFEST_BYTES, STEPS, OtherFormat, read_artifact
from diglot.base.errors import UserError
from diglot.base.files import read_json
from diglot.base.hashes import MEMORY, FileHashes, check_whole
from diglot.load import Where, check, load_recipe
from diglot.recipe import Recipe
from diglot.recipe.common import at_step


def run_folder(recipe: Recipe, given: str | None) -> Path:
    """The folder of a recipe's run, unless another is given."""
    return Path(given or recipe.run or f"runs/{recipe.name}")


def find_run(given: Path) -> tuple[Recipe, Path]:
    """The recipe and folder of a run, from its folder, a recipe's file, or a name under runs/.

    Raises:
        UserError: there is none, or it was made by an older version.
    """
    if given.suffix in (".yaml", ".yml"):
        recipe, _ = load_recipe(given)
        return recipe, run_folder(recipe, None)
    folder = given if given.is_dir() or len(given.parts) > 1 else Path("runs") / given
    file = folder / "recipe.json"
    if not file.is_file():
        runs = {place.parent.name: place.parent for place in Path("runs").glob("*/recipe.json")}
        near = difflib.get_close_matches(given.name, runs, 1)
        hint = f"did you mean {runs[near[0]]}? " if near else ""
        raise UserError(f"{given}: no run there: {file} is missing; {hint}give a run folder, or run a recipe first")
    value = read_json(file, "run the recipe again", MANIFEST_BYTES)
    try:
        return check(Recipe, value, Where(str(file))), folder
    except UserError as error:
        raise UserError(
            f"{folder}: this run was made by an older version of Diglot, or its recipe.json was changed; run the recipe "
            f"again. What is not understood:\n{error}"
        ) from error


def check_model(folder: Path) -> None:
    """Refuse a model that is not as its stage wrote it; of what others wrote, other versions of Diglot too, nothing is known.

    Raises:
        UserError: it was changed.
    """
    step = folder.name if folder.parent.name == STEPS and folder.name.isdecimal() else None
    place = folder.parents[1] if step else folder
    with contextlib.suppress(OtherFormat):
        if artifact := read_artifact(place):
            check_whole(artifact.at(int(step)) if step else artifact, FileHashes(place.parent / MEMORY))


def find_model(given: Path, stage: str | None) -> Path:
    """The folder of a model: the one given, or a run's, its last one if no stage is named (`trunk@2` names a step too).

    Raises:
        UserError: there is none.
    """
    if (given / "config.json").is_file():
        return given
    recipe, folder = find_run(given)
    names = [name for name, kind in recipe.stages.items() if kind.makes == "model"]
    chosen, step = at_step(stage or "")
    if stage and chosen not in names:
        raise UserError(f"--stage {stage}: not a model of this run; models: {', '.join(names)}")
    for name in [chosen] if stage else reversed(names):
        place = folder / name / STEPS / step if step else folder / name
        if (place / "config.json").is_file():
            return place
    raise UserError(f"{folder} holds no model yet; run the recipe first")
