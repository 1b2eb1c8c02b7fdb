"""Every kind of stage as a command: its options are made from its settings, its folders from what it reads.

    diglot curate --out corpus --sources '{…}'

does what a recipe's stage would do, and does nothing when that is done.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic.fields import FieldInfo

from diglot.base.artifact import Artifact, Inputs, Progress, content_hash, read_artifact
from diglot.base.errors import UserError
from diglot.base.files import make_folder
from diglot.base.hashes import MEMORY, FileHashes
from diglot.base.plain_yaml import LARGEST
from diglot.base.summaries.summary import Summary
from diglot.load import Where, check, parse_value
from diglot.recipe.common import Settings, Stage
from diglot.recipe.described import default_of, example_of, is_deep, settings_in, untold_choices

if TYPE_CHECKING:
    from diglot.step import Step


class StageCommand(click.Command):
    """A command that knows what its options were called before."""

    def __init__(self, name: str, settings: type[Stage], **given: Any):
        super().__init__(name, **given)
        self.settings = settings

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Read the options.

        Raises:
            UserError: an option has another name now.
        """
        try:
            return super().parse_args(context, args)
        except click.NoSuchOption as error:
            if now := self.settings.renamed.get(error.option_name.lstrip("-")):
                raise UserError(f"{error.option_name} is called --{option_name((now,))} now") from error
            raise


def stage_command(kind: str, settings: type[Stage]) -> click.Command:
    """The command of a kind of stage."""
    parameters: list[click.Parameter] = [
        click.Option(["--out"], required=True, type=click.Path(path_type=Path), help="The artifact's folder."),
        click.Option(
            ["--recipe-seed"], type=click.IntRange(-LARGEST, LARGEST), default=0, help="What `seed:` is in a recipe."
        ),
    ]
    for role, needs in settings.reads.items():
        text = f"Folder of {'a ' if not needs.many else ''}{needs}{' (may be given often)' if needs.many else ''}."
        names = [f"--{role}", f"input_{role}"]  # roles and settings may have the same name
        parameters.append(click.Option(names, multiple=True, metavar="DIR", help=text, required=needs.required))
    return StageCommand(
        kind,
        settings=settings,
        params=parameters + _options(settings),
        callback=lambda **given: _run_stage_command(settings, **given),
        help=f"{settings.__doc__}\n\nThis is the stage `do: {kind}` of a recipe.",
        epilog=f"\b\nExample:\n  {_example(kind, settings)}",
    )


def _example(kind: str, settings: type[Stage]) -> str:
    """A command with all that must be given."""
    words = [f"diglot {kind} --out out/{settings.makes}"]
    words += [f"--{role} DIR" for role, needs in settings.reads.items() if needs.required]
    words += [
        f"--{option_name(path)} {shlex.quote(example_of(info))}"
        for path, info in fields_of(settings)
        if info.is_required() or path[0] in settings.in_example
    ]
    return " ".join(words)


def fields_of(settings: type[Settings], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Settings that are options, by path; those of a nested class each are one."""
    for name, info in settings.model_fields.items():
        path, kind = (*prefix, name), info.annotation
        if name in ("do", "from_"):
            continue
        if isinstance(kind, type) and issubclass(kind, Settings):
            yield from fields_of(kind, path)
        else:
            yield path, info


def option_name(path: tuple[str, ...]) -> str:
    """What a setting is called on the command line, without the dashes."""
    return ".".join(path).replace("_", "-")


def _options(settings: type[Settings]) -> list[click.Parameter]:
    """Options from a schema; nested settings become --rules.min-words, lists and mappings are given as YAML."""
    return [
        click.Option(
            [f"--{option_name(path)}", "set_" + "__".join(path)],
            metavar="YAML" if is_deep(info) else "VALUE",
            help=_help(path, info),
            required=info.is_required(),
        )
        for path, info in fields_of(settings)
    ]


def _help(path: tuple[str, ...], info: FieldInfo) -> str:
    """What a setting is for, what it may be, an example where it is a list or a mapping, and its default."""
    description = info.description or path[-1].replace("_", " ")
    parts = [description if description[-1] in ".?" else f"{description}."]
    if words := untold_choices(info):
        parts.append(f"One of {', '.join(words)}.")
    for inner in settings_in(info):
        parts.append(f"Keys: {', '.join(inner.model_fields)} (docs/settings.md#{inner.__name__.lower()}).")
    if is_deep(info) and info.examples:
        parts.append(f"Example: --{option_name(path)} {shlex.quote(example_of(info))}")
    if (default := default_of(info)) not in ("", "{}", "[]"):
        parts.append(f" [default: {default}]")
    return " ".join(parts)


def _run_stage_command(settings: type[Stage], out: Path, recipe_seed: int, **given: Any) -> None:
    """Do what a recipe's stage would do, with a plan of one step: the same states, lock and writing."""
    from diglot import flow, terminal
    from diglot.base.console import make_console

    folders = {key.removeprefix("input_"): paths for key, paths in given.items() if key.startswith("input_") and paths}
    for role, paths in folders.items():
        if len(paths) > 1 and not settings.reads[role].many:
            raise UserError(f"--{role} takes one folder, not {len(paths)}")
    inputs = {role: [input_artifact(Path(path), role, settings) for path in paths] for role, paths in folders.items()}
    stage, where = given_settings(settings, given, inputs)
    console = make_console()
    view = terminal.StageProgress(console, 1)
    try:
        artifact, was_done = run_alone(stage, where, inputs, out, recipe_seed, view.started, view.say)
    finally:
        view.stop()
    if was_done:
        console.print(f"nothing to do: {out} is done", markup=False)
        return
    view.finished(flow.Step(out.name, stage, {}, out, out), artifact)
    console.print(str(out), markup=False)


def run_alone(
    stage: Stage,
    where: Where,
    inputs: dict[str, list[Artifact]],
    out: Path,
    seed: int,
    started: Callable[[Step], Progress] | None = None,
    say: Callable[[str], None] | None = None,
) -> tuple[Artifact, bool]:
    """Run a stage that belongs to no recipe, with a plan of one step: the same states, lock and writing as in a run.

    Args:
        stage: its settings.
        where: what gave them, for errors.
        inputs: the artifacts that it reads, by role.
        out: the folder of its artifact.
        seed: what `seed:` is in a recipe.
        started: called before it runs; returns what receives its progress.
        say: shows what it has to say on the way.

    Returns:
        The artifact, and whether it was there already.

    Raises:
        UserError: what the stage refuses; or another process is at work there.
    """
    from diglot import flow

    # Everything but the artifact goes into a folder of its own, so that commands beside each other do not meet.
    work = out.parent / f".{out.name}.diglot"
    flow.refuse_impossible(stage, where)
    reads = {role: [str(artifact.path) for artifact in artifacts] for role, artifacts in inputs.items()}
    step = flow.Step(out.name, stage, reads, out, work)
    hashes = FileHashes(work / MEMORY)
    step.made_from = {
        "version": stage.version,
        "seed": seed,
        "files": hashes.of_paths(stage.outside_paths(), where, ask=flow.ask_server),
        # Two folders may hold artifacts of the same name: their places keep them apart, and in order.
        "stages": {
            role: {f"{n}:{a.stage}": a.fingerprint for n, a in enumerate(artifacts)}
            for role, artifacts in inputs.items()
        },
    }
    step.fingerprint = flow.step_fingerprint(stage, step.made_from, {})
    make_folder(work)
    with flow.locked(work, "another folder with --out"):
        flow.set_state(step)
        if step.state == "done" and (artifact := read_artifact(out)):
            return artifact, True
        progress = started(step) if started else None
        artifact = flow.run_stage(step, Inputs(inputs), seed, where, hashes, progress, say)
        hashes.save()
        return artifact, False


def given_settings(
    settings: type[Stage], given: dict[str, Any], inputs: dict[str, list[Artifact]]
) -> tuple[Stage, Where]:
    """A stage's settings from the options of its command, checked, and the option that gave each."""
    value: dict[str, Any] = {"do": settings.model_fields["do"].default}
    where = Where(f"diglot {value['do']}")
    for key, text in given.items():
        if key.startswith("set_") and text is not None:
            path = key.removeprefix("set_").split("__")
            target = value
            for part in path[:-1]:
                target = target.setdefault(part, {})
            target[path[-1]] = parse_value(text, f"--{option_name(tuple(path))}")
            where.overrides[tuple(path)] = f"--{option_name(tuple(path))} {text}"
    value["from"] = {role: [artifact.stage for artifact in artifacts] for role, artifacts in inputs.items()}
    return check(settings, value, where), where


def input_artifact(folder: Path, role: str, settings: type[Stage]) -> Artifact:
    """An artifact by its folder; a bare Hugging Face folder passes for a model or tokenizer, a hub name for a model."""
    needs = settings.reads[role]
    if needs.accepts("model") and not folder.exists():
        from diglot.model.huggingface import find_model

        folder = find_model(str(folder))
    artifact = read_artifact(folder)
    if artifact is None:
        from diglot.tokenizer.description import is_tokenizer  # start-up: only for folders from outside

        kind = "model" if (folder / "config.json").is_file() else "tokenizer"
        if not is_tokenizer(folder) or not needs.accepts(kind):
            raise UserError(f"--{role} {folder}: no {needs} there")
        content = content_hash(folder)
        artifact = Artifact(folder, folder.name, kind, "outside", content, content, {}, {}, Summary(), {})
    if not needs.accepts(artifact.kind):
        raise UserError(f"--{role} {folder}: is a {artifact.kind}; a {needs} is needed here")
    return artifact
