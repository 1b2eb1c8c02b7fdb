"""The `diglot` command.

`diglot run` walks a recipe. Every kind of stage is a command of its own too, with options made from the same schema:
`diglot curate --out corpus --sources '{…}'` does what a recipe's stage would do. Heavy libraries are imported by the
stages that need them, so that `diglot --help` answers at once.
"""

from __future__ import annotations

import difflib
import errno
import io
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from diglot import __version__
from diglot.arena_commands import arena_command, votes_command
from diglot.base.artifact import Artifact, read_artifact
from diglot.base.errors import UserError
from diglot.base.format import excerpt
from diglot.base.interrupts import INTERRUPTED, interrupts_wait
from diglot.base.plain_yaml import LARGEST
from diglot.base.screen import say, say_json
from diglot.base.table import drawn
from diglot.base.table import show as show_views
from diglot.compare_command import compare_command
from diglot.completion import settings_of_the_recipe, stages_of_the_recipe
from diglot.gap_command import gap_command
from diglot.model_commands import chat_command, serve_command
from diglot.parameters import Number
from diglot.publish_command import publish_command
from diglot.recipe import STAGES, Recipe
from diglot.runs import find_run, run_folder
from diglot.setup_commands import completion_command, doctor_command, init_command, schema_command, try_command
from diglot.stage_commands import stage_command

if TYPE_CHECKING:
    from rich.console import Console

    from diglot.step import Step

# With another process on a core, spinning OpenMP threads ran at a quarter of one thread's speed.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

EXAMPLES = """\b
Examples:
  diglot run recipes/quickstart.yaml                    the whole pipeline, on the invented world
  diglot run recipes/quickstart.yaml trunk.steps=1000   with a setting changed
  diglot run recipes/quickstart.yaml --dry-run          what is done, stale (and why), and to do
  diglot show runs/quickstart                           what a run holds
  diglot chat runs/quickstart                           talk to its last model
"""


VERIFY = "Hash all that stages wrote and read, to the last byte, instead of trusting sizes and times."

SHOW_EXAMPLES = """\b
Examples:
  diglot show runs/quickstart
  diglot show runs/quickstart --stage corpus --source arabic
  diglot show runs/quickstart/corpus
"""

# What a user can put right: permissions, missing or existing files and folders, names, a full or read-only disk.
USERS_ERRORS = {
    errno.EPERM, errno.ENOENT, errno.EACCES, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOSPC, errno.EROFS,
    errno.EDQUOT, errno.ENAMETOOLONG,
}  # fmt: skip


class Hinting(click.Group):
    """Commands that say which one may be meant."""

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        """Find a command by its name.

        Raises:
            UserError: there is none.
        """
        if args[0] not in self.commands and not context.resilient_parsing:  # the shell is only asking
            path, meant = context.command_path, self._meant(args[0])
            hint = f"did you mean `{path} {meant}`? " if meant else ""
            raise UserError(f"there is no command {args[0]!r}; {hint}`{path} --help` lists them")
        return super().resolve_command(context, args)

    def _meant(self, given: str) -> str:
        if given.endswith((".yaml", ".yml")):
            return f"run {given}"
        now = {old: name for name, kind in STAGES.items() for old in kind.formerly}
        known = {**{name: name for name in self.commands}, **now, "help": "--help", "version": "--version"}
        near = difflib.get_close_matches(given, known, 1)
        return known[near[0]] if near else ""


class Commands(Hinting):
    """The commands, with the kinds of stage listed apart."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List general commands first, then stages."""
        for title, names in (
            ("Commands", [name for name in self.commands if name not in STAGES]),
            ("Stages (each also a command)", [name for name in self.commands if name in STAGES]),
        ):
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(80)) for name in names])


@click.group(cls=Commands, epilog=EXAMPLES, context_settings={"max_content_width": 110})
@click.version_option(__version__)
def cli() -> None:
    """Teach a language model a second language: from raw text to a chat model, with the evidence."""


def main() -> None:
    """Entry point. Under torchrun or srun the first process walks the command; the others train with it."""
    from diglot.train import launch

    sys.excepthook = _crashed
    try:
        with launch.processes():
            _main()
    except UserError as error:
        _fail(str(error))


def _main() -> None:
    """Run the command; errors that a user can put right are printed without a traceback, with exit code 2."""
    try:
        _check_arguments()
        cli(standalone_mode=False)
    except UserError as error:
        _fail(str(error))
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        say(shown.getvalue().rstrip("\n"), error=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        say(INTERRUPTED, error=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in USERS_ERRORS:
            raise
        _fail(f"{excerpt(str(error.filename or 'disk'))}: {error.strerror}")


def _check_arguments() -> None:
    """Texts and names on the command line are UTF-8: others could be given to no tokenizer and written to no file."""
    for number, argument in enumerate(sys.argv[1:], 1):
        shown = argument.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        if shown != argument:
            raise UserError(
                f"argument {number} ({excerpt(shown, 80)}) is not UTF-8 text; see to the terminal's encoding (LANG=C.UTF-8), "
                "or rename the file"
            )


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a fault of ours; other people's text may stand in it."""
    say("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"), error=True)


def _fail(message: str) -> None:
    for line in message.split("\n"):
        say(line, error=True, lead=f"{click.style('error', fg='red', bold=True)}: " if line else "")
    sys.exit(2)


# --- recipes --------------------------------------------------------------------------------------------------


def _console() -> Console:
    from diglot.base.console import make_console

    return make_console()


@cli.command("run", epilog=EXAMPLES)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, shell_complete=settings_of_the_recipe)
@click.option("--run", "folder", help="The run folder.  [default: the recipe's, or runs/NAME]")
@click.option("--until", metavar="STAGE", shell_complete=stages_of_the_recipe, help="Stop after this stage.")
@click.option("--dry-run", is_flag=True, help="Show what is done, stale (and why), and to do; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run, for scripts: one JSON object.")
@click.option("--verify", is_flag=True, help=VERIFY)
def run_command(
    recipe: Path,
    overrides: tuple[str, ...],
    folder: str | None,
    until: str | None,
    dry_run: bool,
    as_json: bool,
    verify: bool,
) -> None:
    """Run a recipe: skip what is done, go on where a killed run stopped, end in the report.

    OVERRIDES change settings: stage.key=value, such as cpt.steps=100 or corpus.sources.arabic.path=my/texts.
    """
    from diglot import flow, terminal
    from diglot.base.hashes import MEMORY, FileHashes
    from diglot.load import load_recipe

    if as_json and not dry_run:
        raise UserError("--json goes with --dry-run; of a run, `diglot show RUN --json` tells what it holds")
    loaded, where = load_recipe(recipe, list(overrides))
    place, console = run_folder(loaded, folder), _console()
    hashes = FileHashes(place / MEMORY, believe=not verify)
    steps = flow.wanted(flow.plan(loaded, place, where, hashes=hashes), until)
    damaged = flow.verify(steps, hashes) if verify else []
    if dry_run:
        flow.note_begun(steps, place)
        _show_plan(console, loaded, place, steps, as_json)
    # Both after the table, so that a dry run shows where the run stands even where it would be refused.
    if damaged:
        raise UserError("\n".join(damaged))
    flow.foresee(steps, where)
    if dry_run:
        return
    # Whatever ends the run, the progress line goes first: an error printed over it could not be read.
    todo = [step for step in steps if step.state != "done"]
    view = terminal.StageProgress(console, len(todo))
    try:
        flow.run(
            loaded, place, where, hashes=hashes, until=until, started=view.started, finished=view.finished, say=view.say
        )
    finally:
        view.stop()
    if not todo:
        console.print(f"nothing to do: all {len(steps)} stages are done in {place}", markup=False)
    _closing(console, steps)


def _show_plan(console: Console, recipe: Recipe, place: Path, steps: list[Step], as_json: bool) -> None:
    """What a run would do."""
    from diglot import terminal
    from diglot.tries import told

    if as_json:
        stages = {
            step.name: {
                "kind": step.settings.do,
                "reads": step.reads,
                "state": step.state,
                "why": step.why,
                "fingerprint": step.fingerprint,
                "told": list(told(step)) if step.state != "done" else [],
            }
            for step in steps
        }
        say_json({"recipe": recipe.name, "run": str(place), "stages": stages})
        return
    console.print(drawn(terminal.plan_table(steps)))
    for text in (text for step in steps if step.state != "done" for text in told(step)):
        say(text)
    done = sum(step.state == "done" for step in steps)
    console.print(f"\n{done} of {len(steps)} stages done in {place}", markup=False)


def _closing(console: Console, steps: list[Step]) -> None:
    """The end of a run: what was learnt, and where the report is."""
    from diglot.flow import artifacts_of

    artifacts = list(artifacts_of(steps).values())
    if any(artifact.kind == "scores" for artifact in artifacts):
        from diglot.report.learnt import learnt_of

        if learnt := learnt_of(artifacts):
            console.print("", drawn(learnt.table))
            console.print(f"\n{learnt.finding}", markup=False)
    for artifact in artifacts:
        if artifact.kind == "report":
            console.print(f"\nreport: {(artifact.path / 'report.html').resolve()}", markup=False)


@cli.command("show", epilog=SHOW_EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON object.")
@click.option("--stage", help="A corpus, in depth: what it kept and dropped, and why.")
@click.option("--source", help="With --stage: one source, with its signals, samples and duplicates.")
@click.option("--verify", is_flag=True, help=VERIFY)
def show_command(run: Path, as_json: bool, stage: str | None, source: str | None, verify: bool) -> None:
    """Show what a run holds: the state, time and headline numbers of its stages. Nothing is written.

    RUN is a run folder, its name under runs/, a recipe, or the folder of one corpus.
    """
    from diglot import flow, terminal
    from diglot.base.hashes import MEMORY, FileHashes
    from diglot.load import Where
    from diglot.report.lineage import lineage_tree

    # The folder of one corpus, as a stage's own command makes it, belongs to no recipe.
    alone = read_artifact(run) if run.is_dir() else None
    if alone and alone.kind == "corpus" and not as_json:
        _show_corpus(alone.stage, source, {alone.stage: alone})
        return
    recipe, folder = find_run(run)
    # Looking must work where the texts that a run was made of are gone.
    hashes = FileHashes(folder / MEMORY, believe=not verify)
    where = Where(str(folder / "recipe.json"))
    steps = flow.plan(recipe, folder, where, hashes=hashes, looking=True)
    flow.note_begun(steps, folder)
    damaged = flow.verify(steps, hashes) if verify else []
    artifacts = flow.artifacts_of(steps)
    if stage:
        _show_corpus(stage, source, artifacts)
        return
    if as_json:
        say_json(_run_as_json(recipe, steps, artifacts))
    else:
        console = _console()
        console.print(drawn(terminal.run_table(steps, artifacts)))
        models = terminal.members(steps, artifacts)
        if len(models) > 1:
            console.print()
            console.print(lineage_tree(models), soft_wrap=False)
        _closing(console, steps)
    if damaged:
        raise UserError("\n".join(damaged))


def _run_as_json(recipe: Recipe, steps: list[Step], artifacts: dict[str, Artifact]) -> dict[str, Any]:
    report = next((a.path / "report.html" for a in artifacts.values() if a.kind == "report"), None)
    stages = {step.name: _show(step, artifacts.get(step.name)) for step in steps}
    return {"recipe": recipe.name, "stages": stages, "report": str(report) if report else None}


def _show_corpus(stage: str, source: str | None, artifacts: dict[str, Artifact]) -> None:
    from diglot.report.inspect import corpus_views

    corpora = [name for name, artifact in artifacts.items() if artifact.kind == "corpus"]
    if stage not in corpora:
        raise UserError(f"--stage: {stage!r} is no corpus of this run; there are: {', '.join(corpora) or 'none'}")
    show_views(_console(), corpus_views(artifacts[stage], source))


def _show(step: Step, artifact: Artifact | None) -> dict[str, Any]:
    return {
        "kind": step.settings.do,
        "state": step.state,
        "why": step.why,
        "fingerprint": step.fingerprint,
        "content": artifact.content if artifact else None,
        "seconds": artifact.provenance.get("seconds") if artifact else None,
        "artifact": str(artifact.path) if artifact else None,
        "summary": artifact.summary.as_json() if artifact else {},
    }


DATA_EXAMPLES = """\b
Examples:
  diglot data runs/quickstart --mixture
  diglot data recipes/arabic.yaml --stage trunk --at-step 120
  diglot data runs/arabic --stage trunk --document arabic:articles.jsonl:17 --json
"""


@cli.command("data", epilog=DATA_EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--stage", help="Which train stage.  [default: the only one; for --mixture all]")
@click.option("--mixture", is_flag=True, help="Shares planned and realised by phase, and epochs of each source (the default).")  # fmt: skip
@click.option("--at-step", "step", type=click.IntRange(1, LARGEST), metavar="N", help="The documents that a step reads; steps count from 1, as in the metrics.")  # fmt: skip
@click.option("--document", metavar="SOURCE:ID", help="The steps that read a document.")
@click.option("--limit", type=click.IntRange(1, LARGEST), default=50, show_default=True, help="Lines of a table.")
@click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON object.")
def data_command(run: Path, as_json: bool, limit: int, **asked: Any) -> None:
    """Show what training reads: mixtures, the documents of a step, the steps of a document.

    Works before training, as soon as the tokens are there. RUN is a run folder, its name under runs/, or a recipe.
    """
    from diglot import flow
    from diglot.load import Where
    from diglot.train import data_command

    recipe, folder = find_run(run)
    steps = flow.plan(recipe, folder, Where(str(folder)), looking=True)
    for each in steps:
        if each.settings.makes == "tokens" and each.state == "stale":
            say(f"note: {each.name} is stale ({each.why}); this is about what it holds now", error=True)
    found = data_command.answers(recipe, folder, **asked)
    if as_json:
        say_json(found[0] if len(found) == 1 else {"stages": found})
    else:
        show_views(_console(), data_command.views(found, limit))


PLAN_EXAMPLES = """\b
Examples:
  diglot plan recipes/arabic.yaml --cluster here
  diglot plan recipes/arabic.yaml --cluster h100:8
  diglot plan recipes/polylm-13b.yaml --cluster a100-80:32x8 --tokens-per-second 1170
  diglot plan recipes/polylm-1.7b.yaml base.parallel.tensor=2 --cluster h100:8x8 --price 2.50
  diglot plan recipes/polylm-13b.yaml base.parallel.tensor=1 --cluster h100:32x8 --dry-run-ranks 256
"""


@cli.command("plan", epilog=PLAN_EXAMPLES)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, shell_complete=settings_of_the_recipe)
@click.option("--cluster", required=True, metavar="DEVICE[:[NODESx]COUNT]", help="Such as h100, h100:8 or h100:4x8 (four nodes of eight). Devices: a100-40, a100-80, h100, h200, b200, rtx-4090, cpu (a core). here: this machine, measured for some seconds.")  # fmt: skip
@click.option("--mfu", type=Number(0, 1, min_open=True), help="Model FLOPs utilisation.  [default: one published for the device]")  # fmt: skip
@click.option("--tokens-per-second", type=Number(0, min_open=True), help="A device's, instead of --mfu.")  # fmt: skip
@click.option("--price", type=Number(0), help="Of a device-hour.")
@click.option("--pue", type=Number(1), help="Energy of the data centre over that of its devices.  [default: 1.2]")  # fmt: skip
@click.option("--watts", type=Number(0, min_open=True), help="A device draws.  [default: its power limit]")  # fmt: skip
@click.option("--dry-run-ranks", type=click.IntRange(2), metavar="RANKS", help="Also shard the real models over so many fake ranks on this machine's CPU, and count bytes.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON object.")
def plan_command(
    recipe: Path, overrides: tuple[str, ...], cluster: str, dry_run_ranks: int | None, as_json: bool, **given: Any
) -> None:
    """Plan a recipe's training on a cluster: memory, time, energy and cost; nothing is run.

    OVERRIDES change settings: stage.key=value, as for `diglot run`.
    """
    from diglot import flow
    from diglot.base.devices import HERE, parse_cluster
    from diglot.load import load_recipe

    machines = None if cluster == HERE else parse_cluster(cluster)
    loaded, where = load_recipe(recipe, list(overrides))
    reads = flow.graph(loaded, where)

    with interrupts_wait():
        from diglot.plan.command import plan, show
        from diglot.plan.here import this_machine

    machines = machines or this_machine()
    found = plan(loaded, reads, where, machines, dry_run_ranks, **given)
    if as_json:
        say_json(found.as_json())
    else:
        show(_console(), found)


# --- tokenizers -----------------------------------------------------------------------------------------------


MEASURE_EXAMPLES = """\b
Examples:
  diglot tokenizer measure runs/arabic/tokenizer llama=models/llama-2 \\
    --text en=ntrex.jsonl.zst:eng --text ar=ntrex.jsonl.zst:arb --baseline llama --out measured
  diglot tokenizer measure runs/quickstart/tokenizer --corpus runs/quickstart/corpus
  diglot tokenizer measure models/llama-2 --corpus runs/arabic/corpus --advise ar
"""


@cli.group("tokenizer", cls=Hinting)
def tokenizer_group() -> None:
    """Measure tokenizers."""


@tokenizer_group.command("measure", epilog=MEASURE_EXAMPLES)
@click.argument("tokenizers", nargs=-1, required=True, metavar="[NAME=]FOLDER...")
@click.option("--text", "texts", multiple=True, metavar="LANGUAGE=FILE[:FIELD]", help="Text in a language: plain, a line each, or a field of JSON lines; .gz and .zst too. Languages with equally many lines are taken as parallel.")  # fmt: skip
@click.option("--corpus", "corpora", multiple=True, type=click.Path(path_type=Path), metavar="DIR", help="Held-out documents of a corpus.")  # fmt: skip
@click.option("--baseline", metavar="NAME", help="The tokenizer whose compression is 1.  [default: the first]")
@click.option("--advise", "advised", multiple=True, metavar="LANGUAGE", help="Also say whether an extension by this language is worth it, and by how many tokens; learns them from --corpus, about a minute each.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Write measures.json and a page with pictures, measure.html.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON object.")
def measure_command(
    tokenizers: tuple[str, ...],
    texts: tuple[str, ...],
    corpora: tuple[Path, ...],
    baseline: str | None,
    advised: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare tokenizers, language by language.

    Tokens per word, characters and bytes per token, share of words that are cut, compression against a baseline (as in
    PolyLM's figure 1) and, on parallel text, what the same content costs in each language (premium, Gini).

    FOLDER holds a tokenizer.json: a tokenizer or model of a run, or a Hugging Face folder.
    """
    from diglot.base.console import make_console
    from diglot.report.tokenizer_tables import tables
    from diglot.tokenizer import compare

    if advised and not corpora:
        raise UserError("--advise: new tokens are learnt from text; give --corpus DIR, the folder of a curate stage")
    folders = compare.named_tokenizers(tokenizers)
    given, parallel = compare.texts_to_compare(texts, corpora)
    console = _console()
    with make_console(stderr=True).status("reading") as status:  # stdout is for the result: it may be JSON

        def progress(done: float, total: float | None, unit: str, note: str = "") -> None:
            status.update(note or unit)

        result = compare.compare(folders, given, parallel, baseline, progress)
        if advised:
            from diglot.tokenizer.gain import advice_on  # start-up: the kernels that learn tokens

            result["advice"] = advice_on(folders, compare.read_corpora(corpora), advised, progress)
    if as_json:
        say_json(result)
    else:
        show_views(console, tables(result, min(console.width, 120)))
    if out:
        from diglot.report.measured import write_measures

        page = write_measures(result, out)
        say(f"page: {page.resolve()}", error=as_json)


COMMANDS = (
    init_command, try_command, serve_command, chat_command, compare_command, gap_command, arena_command, votes_command, publish_command, doctor_command,
    schema_command, completion_command,
)  # fmt: skip
for _command in COMMANDS:
    cli.add_command(_command)
for _kind, _settings in STAGES.items():
    cli.add_command(stage_command(_kind, _settings))


if __name__ == "__main__":
    main()
