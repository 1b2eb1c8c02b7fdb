"""The flow: what a recipe's stages wait for, what is done, what is stale and why; and running the rest.

    recipe ──graph──► order of stages ──plan──► state of each (done / stale / to do) ──run──► artifacts

A stage reads others by name, and the models that a train stage kept on its way as NAME@STEP (`trunk@400`).

A stage is done when its folder holds an artifact with the fingerprint that the recipe asks for. The fingerprint
covers the settings, the seed, the stage's code version, the fingerprints of the stages it reads and the content of
the files it reads from outside. So it is known before anything runs, a touched file is not a changed one, and
running a recipe again does only what is missing.

Before a stage runs, the artifacts that it reads are checked against their manifests (base/hashes.py), and when it is
done, that the files it read from outside are still those of the fingerprint.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import functools
import importlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from diglot.base.artifact import Artifact, Context, Inputs, OtherFormat, Progress, read_artifact, writing
from diglot.base.errors import UserError
from diglot.base.files import expand_home, open_plain, remove, write_json
from diglot.base.format import excerpt
from diglot.base.hashes import MEMORY, FileHashes, check_whole, damage, not_as_written
from diglot.base.interrupts import interrupts_wait
from diglot.base.origin import origin_of
from diglot.base.summaries.summary import Summary
from diglot.load import Where
from diglot.progress import FILE as PROGRESS
from diglot.progress import Recorder, recorded
from diglot.recipe import Recipe
from diglot.recipe.common import Stage, at_step
from diglot.step import Step, set_state, step_fingerprint
from diglot.tries import remove_tries, scratch_of, take_up, told

# --- the graph ------------------------------------------------------------------------------------------------


def graph(recipe: Recipe, where: Where) -> dict[str, dict[str, list[str]]]:
    """What each stage reads, by role; stages in an order in which they can run.

    Raises:
        UserError: an unknown stage or role, a missing role, the wrong kind of artifact, or a cycle.
    """
    for name, stage in recipe.stages.items():
        refuse_impossible(stage, functools.partial(where, "stages", name))
    reads = {name: _reads(name, stage, recipe, where) for name, stage in recipe.stages.items()}
    order: list[str] = []
    trail: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        if name in trail:  # on the way from the stage itself back to it
            cycle = " → ".join([*trail[trail.index(name) :], name])
            raise UserError(f"{where('stages', name, 'from')}: the stages wait for each other: {cycle}")
        trail.append(name)
        # What is read comes first; the recipe's order decides between stages that don't wait for each other.
        for others in reads[name].values():
            for other in others:
                visit(at_step(other)[0])
        trail.pop()
        order.append(name)

    for name in recipe.stages:
        visit(name)
    return {name: reads[name] for name in order}


def refuse_impossible(stage: Stage, where: Callable[..., str]) -> None:
    """Refuse settings that no run could meet.

    Raises:
        UserError: names the first, with its place.
    """
    for key, wrong in stage.impossible():
        raise UserError(f"{where(*key.split('.'))}: {wrong}")


def _reads(name: str, stage: Stage, recipe: Recipe, where: Where) -> dict[str, list[str]]:
    at = where("stages", name, "from")
    if stage.reads_everything and not stage.from_:
        role = next(iter(stage.reads))
        return {role: [other for other, kind in recipe.stages.items() if not kind.reads_everything]}
    try:
        given = stage.reads_from()
    except UserError as error:
        raise UserError(f"{where.place(('stages', name, 'from'))}: stages.{name}.{error}") from error
    for role, names in given.items():
        if role in stage.renamed:
            place = where("stages", name, "from", role)
            raise UserError(f"{place}: {stage.do}'s input {role!r} is called {stage.renamed[role]!r} now")
        if role not in stage.reads:
            raise UserError(f"{at}: {stage.do} has no input {role!r}; allowed: {', '.join(stage.reads) or 'none'}")
        for other in names:
            _check_read(where("stages", name, "from", role), stage, role, other, recipe)
        if len(names) > 1 and not stage.reads[role].many:
            raise UserError(f"{where('stages', name, 'from', role)}: takes one stage, not {len(names)}")
    for role, needed in stage.reads.items():
        if needed.required and not given.get(role):
            raise UserError(f"{at}: {stage.do} needs {role}: the name of a stage that makes a {needed}")
    return given


def _check_read(at: str, stage: Stage, role: str, name: str, recipe: Recipe) -> None:
    """Refuse what a stage cannot read in a role.

    Raises:
        UserError: an unknown stage or step, or one that does not fit.
    """
    other, step = at_step(name)
    if other not in recipe.stages:
        near = difflib.get_close_matches(other, recipe.stages, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"{at}: no stage {other!r}; {hint}stages: {', '.join(recipe.stages)}")
    read = recipe.stages[other]
    if not stage.reads[role].accepts(read.makes):
        raise UserError(f"{at}: {other!r} makes a {read.makes}, but a {stage.reads[role]} is needed here")
    number = None
    if step is not None:
        # Known before anything runs: which steps a stage keeps follows from its settings.
        kept = read.kept_steps()
        if not kept:
            raise UserError(f"{at}: {name!r}: {other!r} is made by {read.do}; only train stages have steps")
        number = next((one for one in kept if str(one) == step), None)
        if number is None:
            raise UserError(
                f"{at}: {name!r}: {other!r} keeps the models of the steps {excerpt(', '.join(map(str, kept)))}; to keep others, "
                f"set stages.{other}.exports or stages.{other}.export_every (it will run again)"
            )
    # What only this kind of stage knows, such as that a branch needs the optimizer's state.
    if why := stage.refuses(role, read, number):
        raise UserError(f"{at}: {name!r}: {why}")


# --- the plan -------------------------------------------------------------------------------------------------


def plan(
    recipe: Recipe, folder: Path, where: Where, *, hashes: FileHashes | None = None, looking: bool = False
) -> list[Step]:
    """The stages in running order, each with its state. Nothing is written.

    Args:
        recipe: what to plan.
        folder: the run folder.
        where: places in the recipe, for errors.
        hashes: of files, by default as the run folder remembers them; those that are not known are added.
        looking: a stage whose files are gone is stale, and no server is asked for what lies at a URL now.

    Raises:
        UserError: the graph is wrong, or a file that a stage reads from outside is not there.
    """
    steps: dict[str, Step] = {}
    hashes = hashes or FileHashes(folder / MEMORY)
    for name, reads in graph(recipe, where).items():  # in running order: what a step reads has its fingerprint
        settings = recipe.stages[name]
        step = Step(name, settings, reads, folder / name, folder)
        try:
            at = functools.partial(where, "stages", name)
            files = hashes.of_paths(settings.outside_paths(), at, f"{name}.", None if looking else ask_server)
        except UserError:
            if not looking:
                raise
            files = {"(a file read from outside is gone)": ""}  # `diglot show` says it, as what changed
        step.made_from = {
            "version": settings.version,
            "seed": recipe.seed,
            "files": files,
            "stages": {role: {n: steps[at_step(n)[0]].fingerprint for n in names} for role, names in reads.items()},
        }
        step.fingerprint = step_fingerprint(settings, step.made_from, reads)
        set_state(step)
        steps[name] = step
    return list(steps.values())


def foresee(steps: list[Step], where: Where) -> None:
    """Let stages that have to run look at what they will read, as far as it is there already.

    Raises:
        UserError: one says that it will not take it, which would else be known hours later.
    """
    there: dict[str, Path] = {}
    for step in steps:
        place = f"{where.place(('stages', step.name))}: stage {step.name!r}"
        if step.state == "done":
            there[step.name] = step.folder
        elif (brought := step.settings.brings()) is not None:
            there[step.name] = expand_home(brought)
        elif step.settings.foresees is not None:
            # STAGE@STEP has the stage's tokenizer; of roles with several inputs the first is looked at.
            read = {role: [at_step(name)[0] for name in names] for role, names in step.reads.items()}
            folders = {role: there[names[0]] for role, names in read.items() if names and names[0] in there}
            try:
                kept = _function(step.settings, place, step.settings.foresees)(step.settings, folders)
            except UserError as error:
                raise UserError(f"{place}: {error}") from error
            if kept is not None:
                there[step.name] = kept


def ask_server(url: str) -> str | None:
    """What lies at a URL now; see `read/remote.py`."""
    from diglot.read.remote import state_of

    return state_of(url)


def artifacts_of(steps: list[Step]) -> dict[str, Artifact]:
    """The artifacts that lie in the folders of stages, by stage; those that another version wrote are left out."""
    found = {}
    for step in steps:
        with contextlib.suppress(OtherFormat):
            if artifact := read_artifact(step.folder):
                found[step.name] = artifact
    return found


def verify(steps: list[Step], hashes: FileHashes) -> list[str]:
    """Compare what stages wrote with their manifests, and mark what is damaged; returns what to say of each."""
    said = []
    artifacts = artifacts_of(steps)
    for step in steps:
        artifact = artifacts.get(step.name)
        if artifact and (found := damage(artifact, hashes)):
            step.state, step.why = "damaged", found
            said.append(not_as_written(artifact, found))
    return said


# --- running --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(folder: Path, another: str = "this run a folder of its own with --run FOLDER") -> Iterator[None]:
    """Hold a run folder. The lock goes with the process, however it ends.

    Args:
        folder: made if need be.
        another: what to give so that both can run, for the error.

    Raises:
        UserError: another process holds it; names its pid.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open_plain(folder / ".lock") as stream:
        try:
            _lock(stream)
        except OSError as error:
            pid = stream.read(20).decode(errors="replace").strip() or "?"
            raise UserError(
                f"{folder} is in use by another diglot (pid {pid}); wait for it, stop it, or give {another}"
            ) from error
        stream.truncate()
        stream.write(str(os.getpid()).encode())
        stream.flush()
        yield


def _lock(stream: IO[bytes]) -> None:
    """Take the lock, at the second try where somebody has only looked whether it is held (`is_held`)."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        time.sleep(0.1)
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(folder: Path) -> bool:
    """Whether a process works in a run folder now. Writes nothing."""
    try:
        descriptor = os.open(folder / ".lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)  # and the lock with it
    return False


def note_begun(steps: list[Step], folder: Path) -> None:
    """Say of stages that have been begun how far they are; the one that a process works at now is `running`."""
    held = is_held(folder)
    for step in steps:
        found = recorded(scratch_of(step)) if step.state != "done" else None
        if found is None:
            continue
        if held:
            step.state, step.why = "running", found
        elif step.state == "to do":
            step.why = f"stopped at {found}" if found else "was begun"


def run(
    recipe: Recipe,
    folder: Path,
    where: Where,
    *,
    hashes: FileHashes | None = None,
    until: str | None = None,
    started: Callable[[Step], Progress] | None = None,
    finished: Callable[[Step, Artifact], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Step]:
    """Run what is not done, in order.

    Args:
        recipe: what to run.
        folder: the run folder.
        where: places in the recipe, for errors.
        hashes: see `plan`; what is added to them is remembered in the run folder.
        until: stop after this stage (and run only what it waits for).
        started: called before each stage that runs; returns what receives its progress.
        finished: called after each stage that ran.
        say: shows what a stage has to say on the way.

    Returns:
        The plan as it was found.

    Raises:
        UserError: what a stage refused, with its place in the recipe; or an artifact that it reads is damaged.
    """
    graph(recipe, where)
    with locked(folder):
        # Under the lock: what lies in .partial is of a run that was killed, and the plan cannot change any more.
        remove(folder / ".partial")
        hashes = hashes or FileHashes(folder / MEMORY)
        steps = wanted(plan(recipe, folder, where, hashes=hashes), until)
        hashes.save()
        _remember(recipe, folder)
        by_name = {step.name: step for step in steps}
        origin = origin_of(recipe.name, Path(where.name), [*where.overrides.values()])
        for step in steps:
            if step.state == "done":
                continue
            progress = started(step) if started else None
            inputs = Inputs({role: [read_named(by_name, n) for n in names] for role, names in step.reads.items()})
            artifact = run_stage(step, inputs, recipe.seed, where, hashes, progress, say, origin)
            hashes.save()
            if finished:
                finished(step, artifact)
    return steps


def wanted(steps: list[Step], until: str | None) -> list[Step]:
    """The steps that `until` needs, itself included.

    Raises:
        UserError: there is no such stage.
    """
    if until is None:
        return steps
    by_name = {step.name: step for step in steps}
    if until not in by_name:
        raise UserError(f"--until {until}: no such stage; stages: {', '.join(by_name)}")
    needed, waiting = set(), [until]
    while waiting:
        name = waiting.pop()
        needed.add(name)
        reads = [at_step(other)[0] for others in by_name[name].reads.values() for other in others]
        waiting += [other for other in reads if other not in needed]
    return [step for step in steps if step.name in needed]


def run_stage(
    step: Step,
    inputs: Inputs,
    seed: int,
    where: Where,
    hashes: FileHashes,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    origin: dict[str, Any] | None = None,
) -> Artifact:
    """Run one stage and put its artifact in place; `origin` says which recipe it belongs to, if any.

    Raises:
        UserError: what the stage refused; an artifact that it reads is damaged, or a file from outside was changed meanwhile.
    """
    place = where.place(("stages", step.name))
    function = _function(step.settings, f"{place}: stage {step.name!r}")
    context = Context(step.name, seed, scratch_of(step), step.fingerprint)
    context.say = say or context.say
    for text in told(step):
        context.say(text)
    # What an earlier try of these settings left is gone on from; the try of others is told above, and kept.
    scratch = take_up(step)
    context.progress = Recorder(scratch / PROGRESS, progress or context.progress)
    try:
        _check_inputs(inputs, hashes, whole=step.settings.checks_inputs_whole)
        with writing(
            step.folder,
            stage=step.name,
            kind=step.settings.makes,
            do=step.settings.do,
            fingerprint=step.fingerprint,
            settings=step.settings.settings(),
            inputs=step.made_from,
            origin=origin,
            work=step.work,
        ) as unfinished:
            unfinished.summary = _summary(function, step, inputs, unfinished.folder, context, hashes)
            if changed := hashes.changed_since(step.made_from["files"]):
                raise UserError(f"{changed[0]} was changed while the stage read it; run the same command again")
    except UserError as error:
        raise UserError(f"{place}: stage {step.name!r}: {error}") from error
    # The artifact is whole: only now may what the next try would need go, and the tries with other settings.
    remove_tries(step)
    artifact = _whole(step.folder)
    hashes.learn(artifact)
    return artifact


def _check_inputs(inputs: Inputs, hashes: FileHashes, *, whole: bool) -> None:
    """Check the artifacts that a stage reads; `whole` hashes them to the last byte, whatever is remembered."""
    for artifact in (each for artifacts in inputs.by_role.values() for each in artifacts):
        if whole:
            hashes.forget(artifact.path)
        check_whole(artifact, hashes)


def _summary(
    function: Callable[..., Summary], step: Step, inputs: Inputs, folder: Path, context: Context, hashes: FileHashes
) -> Summary:
    """What a stage's function returns; where it fails, a damaged input is said to be the reason, if there is one."""
    try:
        return function(step.settings, inputs, folder, context)
    except UserError:
        raise
    except Exception:
        _check_inputs(inputs, hashes, whole=True)
        raise


def _function(settings: Stage, who: str, function: str | None = None) -> Callable[..., Any]:
    """A function of a stage, by default the one that does its work."""
    module, _, name = (function or settings.function).partition(":")
    try:
        with interrupts_wait():
            return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "diglot":
            raise
        extra = f"diglot[{settings.extra}]" if settings.extra else error.name
        raise UserError(f"{who} needs {error.name}, which is not installed: pip install '{extra}'") from error


def _whole(folder: Path) -> Artifact:
    artifact = read_artifact(folder)
    if artifact is None:
        raise UserError(f"{folder} holds no whole artifact; run the recipe again")
    return artifact


def read_named(steps: dict[str, Step], name: str) -> Artifact:
    """What `name` or `name@step` stands for; the last step is the stage's own artifact."""
    stage, step = at_step(name)
    artifact = _whole(steps[stage].folder)
    if step is None or int(step) == steps[stage].settings.kept_steps()[-1]:
        return artifact
    return artifact.at(int(step))


def _remember(recipe: Recipe, folder: Path) -> None:
    """Keep the recipe as it was run, overrides included, for `diglot show`."""
    write_json(folder / "recipe.json", recipe.model_dump(mode="json", by_alias=True))
