"""Staged freezing: what a phase does not train stays bit for bit, and rates are what the log says."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from rounding import rounding
from tiny_run import artifact, losses, settings, train

from diglot.base.artifact import Context, Inputs, content_hash
from diglot.base.errors import UserError
from diglot.model import presets
from diglot.model.huggingface import load_decoder
from diglot.model.weights import EXPANSION
from diglot.recipe.model import NewModel, Shape
from diglot.recipe.train import Phase, Train
from diglot.report.figures import rate_curve
from diglot.report.reading import read_training
from diglot.train import loop
from diglot.train.freezing import find_rows
from diglot.train.job import Job
from diglot.train.job import prepare as prepare_job
from diglot.train.metrics import read_metrics
from diglot.train.optimizer import parameter_groups

NEW_ROWS, NEW_LAYER = [[290, 310], [320, 328]], 1
IS_NEW = torch.zeros(330, dtype=torch.bool)
for start, end in NEW_ROWS:
    IS_NEW[start:end] = True
KINDS = ["all", "new-rows", "embeddings", "new-layers", "new-rows-and-layers"]


@pytest.fixture(scope="module")
def expanded(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """An untied model whose folder says that it has new rows and a new layer."""
    folder, scratch = tmp_path_factory.mktemp("expanded") / "model", tmp_path_factory.mktemp("scratch")
    new_model = NewModel(preset="tiny", shape=Shape(tied_embeddings=False), **{"from": "tokenizer"})
    tokenizer = artifact(inputs.one("model").path, "tokenizer")
    presets.run(new_model, Inputs({"tokenizer": [tokenizer]}), folder, Context("model", 0, scratch))
    (folder / EXPANSION).write_text(json.dumps({"new_rows": NEW_ROWS, "new_layers": [NEW_LAYER]}))
    return Inputs({"model": [artifact(folder, "model")], "tokens": inputs.many("tokens")})


def phases(*kinds: str, **changes) -> list[Phase]:
    return [
        Phase(name=f"{number}-{kind}", share=1 / len(kinds), trains=kind, **changes)
        for number, kind in enumerate(kinds)
    ]


def prepare(inputs: Inputs, folder: Path, given: Train) -> Job:
    tokens = [tokens.path for tokens in inputs.many("tokens")]
    return prepare_job(given, inputs.one("model").path, tokens, Context("x", 0, folder, workers=1))


def walk(job: Job, steps: range) -> list[dict]:
    """Take steps as the loop does, without evaluations and files."""
    records = []
    for step in steps:
        loop.enter(job, step)
        taken = loop.update(job, job.order.batch(step), step, 0.0)
        _, norms, *_ = taken.measured.read(job.order.names)
        records.append(
            {
                "learning_rate": taken.phase.learning_rate(step),
                "learning_rates": taken.learning_rates,
                "gradient_norms": norms,
            }
        )
    return records


def snapshot(job: Job) -> dict[str, torch.Tensor]:
    """Copies of all weights and moments, by name."""
    found = {}
    for name, parameter in job.model.named_parameters():
        found[name] = parameter.detach().clone()
        for moment, value in job.optimizer.state.get(parameter, {}).items():
            found[f"{name}/{moment}"] = value.clone()
    return found


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in after if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("kind", KINDS)
def test_only_what_a_phase_trains_moves(expanded: Inputs, tmp_path: Path, kind: str, optimizer: str) -> None:
    """After a phase of all parameters, so that every moment is alive and would move what is frozen."""
    given = settings(steps=6, weight_decay=0.5, phases=phases("all", kind), optimizer=optimizer)
    job = prepare(expanded, tmp_path, given)
    walk(job, range(3))
    before = snapshot(job)
    records = walk(job, range(3, 6))
    after = snapshot(job)
    tables = {"embedding.weight", "head.weight"}
    layer = {name for name, _ in job.model.named_parameters() if name.startswith(f"layers.{NEW_LAYER}.")}
    trained = {
        "all": {name for name, _ in job.model.named_parameters()},
        "embeddings": tables,
        "new-rows": tables,
        "new-layers": layer,
        "new-rows-and-layers": tables | layer,
    }[kind]
    assert {name.partition("/")[0] for name in changed(before, after)} == trained
    for name in sorted(tables & trained) if "rows" in kind else []:
        assert torch.equal((before[name] != after[name]).any(dim=1), IS_NEW)
        for moment in (f"{name}/exp_avg", f"{name}/exp_avg_sq"):
            moved = (before[moment] != after[moment]).any(dim=1)
            assert moved[IS_NEW].any()
            assert not moved[~IS_NEW].any()
    for name, parameter in job.model.named_parameters():
        assert (parameter.grad is not None) == (name in trained)
    frozen = {
        group
        for group, parameters in parameter_groups(job.model).items()
        if all(parameter.grad is None for parameter in parameters)
    }
    for record in records:
        assert {group for group, rate in record["learning_rates"].items() if rate == 0} == frozen
        assert {group for group, norm in record["gradient_norms"].items() if norm == 0} == frozen


def test_new_rows_move_as_if_they_were_all_there_is(expanded: Inputs, tmp_path: Path) -> None:
    """Against torch's AdamW, unfused, on a parameter made of the new rows alone."""
    given = settings(steps=4, weight_decay=0.5, gradient_clip=1e9, phases=phases("new-rows"))
    job = prepare(expanded, tmp_path, given)
    table = job.model.embedding.weight
    alone = torch.nn.Parameter(table.detach()[IS_NEW].clone())
    reference = torch.optim.AdamW(
        [alone], lr=1e-3, betas=given.betas, eps=given.epsilon, weight_decay=0.5, foreach=False, fused=False
    )
    for step in range(4):
        record = walk(job, range(step, step + 1))[0]
        alone.grad = table.grad[IS_NEW].clone()
        norm = alone.grad.norm().item()  # six decimals of it are logged
        assert record["gradient_norms"]["embeddings"] == pytest.approx(norm, abs=1e-6 + rounding(norm, operations=4))
        reference.step()
        torch.testing.assert_close(table.detach()[IS_NEW], alone.detach(), rtol=0, atol=rounding(alone, operations=4))


@pytest.mark.parametrize("trains", ["all", "new-rows-and-layers"])
def test_the_logged_rate_is_the_rate(expanded: Inputs, tmp_path: Path, trains: str) -> None:
    """Adam's first step moves each value by the rate, whatever its gradient: what moved is what was logged."""
    rates = {"embeddings": 0.5, "output": 2.0, "matrices": 0.25, "vectors": 0.0}
    job = prepare(
        expanded,
        tmp_path,
        settings(weight_decay=0.0, epsilon=1e-30, phases=phases(trains, learning_rate_multipliers=rates)),
    )
    before = {
        name: [parameter.detach().double() for parameter in parameters]
        for name, parameters in parameter_groups(job.model).items()
    }
    record = walk(job, range(1))[0]
    assert record["learning_rate"] == 1e-3
    assert record["learning_rates"] == pytest.approx({name: 1e-3 * rate for name, rate in rates.items()})
    for name, parameters in parameter_groups(job.model).items():
        moved = max((after.detach().double() - old).abs().max().item() for after, old in zip(parameters, before[name]))
        assert moved == pytest.approx(record["learning_rates"][name], rel=1e-3), name
    assert not any(parameter in job.optimizer.state for parameter in parameter_groups(job.model)["vectors"])


def test_a_multiplier_scales_the_whole_update(expanded: Inputs, tmp_path: Path) -> None:
    """Decay included."""
    moves = []
    for rate in (1.0, 0.5):
        given = settings(weight_decay=0.5, phases=phases("all", learning_rate_multipliers={"embeddings": rate}))
        job = prepare(expanded, tmp_path, given)
        before = job.model.embedding.weight.detach().double()
        walk(job, range(1))
        moves.append(job.model.embedding.weight.detach().double() - before)
    torch.testing.assert_close(moves[1], 0.5 * moves[0], rtol=0, atol=rounding(before, operations=2))


@pytest.mark.parametrize("between", [[], ["new-layers"]])
def test_thawed_rows_are_moved_at_the_rate_and_no_faster(expanded: Inputs, tmp_path: Path, between: list[str]) -> None:
    """With the count of the new rows, beta2 = 0.999 and gradients that last, old rows would move 3 to 6 times it."""
    kinds = ["new-rows", *between, "all"]
    given = settings(
        steps=10 * len(kinds), weight_decay=0.0, betas=(0.9, 0.999), phases=phases(*kinds), learning_rate=1e-4
    )
    job = prepare(expanded, tmp_path, given)
    walk(job, range(10 * len(kinds) - 10))
    before = snapshot(job)["embedding.weight"]
    walk(job, range(10 * len(kinds) - 10, 10 * len(kinds) - 9))
    moved = (job.model.embedding.weight.detach() - before).abs().max(dim=1).values
    assert moved[~IS_NEW].max() == pytest.approx(1e-4, rel=1e-2)
    assert moved.max() <= 1.01e-4


def test_moments_carry_over_phases(expanded: Inputs, tmp_path: Path) -> None:
    """Two phases that train the same are one phase; a phase that froze a parameter takes nothing from it."""
    finals = [
        (walk(job, range(6)), snapshot(job))[1]
        for job in (prepare(expanded, tmp_path, settings(phases=phases(*kinds))) for kinds in (["all"], ["all", "all"]))
    ]
    assert not changed(*finals)
    job = prepare(expanded, tmp_path, settings(steps=9, phases=phases("all", "new-layers", "all")))
    walk(job, range(9))
    counts = {name: int(job.optimizer.state[p]["step"]) for name, p in job.model.named_parameters()}
    assert counts["layers.0.attention.query.weight"] == 6
    assert counts[f"layers.{NEW_LAYER}.attention.query.weight"] == 9


def test_killed_in_every_phase_it_ends_as_if_it_was_not(
    expanded: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at every third step, checkpoints at every second, phases of three steps: all offsets are met."""
    given = settings(
        steps=21,
        phases=phases(*["new-rows", "new-layers", "all", "new-rows-and-layers", "new-rows"], "embeddings", "all"),
    )
    whole = train(expanded, tmp_path / "whole", given)
    real, calls = loop.update, []

    def failing(*given):
        calls.append(given)
        if len(calls) % 3 == 0:
            raise RuntimeError("killed")
        return real(*given)

    monkeypatch.setattr(loop, "update", failing)
    tries = 0
    while tries < 20:
        tries += 1
        try:
            resumed = train(expanded, tmp_path / "cut", given)
            break
        except RuntimeError:
            continue
    assert tries == 11
    assert content_hash(resumed) == content_hash(whole)
    assert losses(resumed) == losses(whole)
    logs = [read_metrics(folder / "logs" / "metrics.jsonl") for folder in (whole, resumed)]
    assert len({line["phase"] for line in logs[0] if line["type"] == "step"}) == 7
    for key in ("learning_rates", "gradient_norms"):
        assert [line.get(key) for line in logs[0]] == [line.get(key) for line in logs[1]]


def test_a_later_train_stage_knows_the_new_rows_too(expanded: Inputs, tmp_path: Path) -> None:
    first = train(expanded, tmp_path / "first", settings(steps=2, phases=phases("new-rows")))
    again = Inputs({"model": [artifact(first, "model")], "tokens": expanded.many("tokens")})
    second = train(again, tmp_path / "second", settings(steps=2, phases=phases("new-rows")))
    start, *others = (load_decoder(f) for f in (expanded.one("model").path, first, second))
    for model in others:
        moved = (model.embedding.weight != start.embedding.weight).any(dim=1)
        assert torch.equal(moved, IS_NEW)
        assert not changed(dict(start.layers.named_parameters()), dict(model.layers.named_parameters()))


def moments_of(job: Job) -> set[str]:
    return {name for name, parameter in job.model.named_parameters() if parameter in job.optimizer.state}


def test_moments_are_of_what_a_phase_trains_or_a_later_one_goes_on_with(expanded: Inputs, tmp_path: Path) -> None:
    """The layer's are kept over the third phase; those of rows are freed, as the tables' begin anew with the last one."""
    kinds = ["new-rows", "new-layers", "new-rows", "new-layers", "embeddings"]
    job = prepare(expanded, tmp_path, settings(steps=10, phases=phases(*kinds)))
    tables = {"embedding.weight", "head.weight"}
    layer = {name for name, _ in job.model.named_parameters() if name.startswith(f"layers.{NEW_LAYER}.")}
    assert moments_of(job) == tables
    for number, wanted in enumerate([tables, tables | layer, tables | layer, layer, tables]):
        walk(job, range(2 * number, 2 * number + 2))
        assert moments_of(job) == wanted
    every = settings(phases=phases("new-rows", "new-layers"), export_optimizer=True)
    assert moments_of(prepare(expanded, tmp_path, every)) == tables | layer  # another stage may go on with them


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({"trains": "new-rows"}, "phase 'first' trains new-rows, but the model has no rows of new tokens"),
        ({"trains": "new-rows-and-layers"}, "start from a model that `do: expand` made"),
        ({"trains": "new-layers"}, "with new_layers above 0"),
        ({"learning_rate_multipliers": {"output": 0.5}}, "its output weight is its embedding"),
        ({"trains": "embeddings", "learning_rate_multipliers": {"embeddings": 0.0}}, "phase 'first' trains nothing"),
    ],
)
def test_phases_that_cannot_do_what_they_say_are_refused(
    inputs: Inputs, tmp_path: Path, phase: dict, message: str
) -> None:
    """On a tied model that nothing was added to."""
    with pytest.raises(UserError, match=message):
        prepare(inputs, tmp_path, settings(phases=[Phase(name="first", **phase)]))


@pytest.mark.parametrize(
    ("trains", "group"), [("embeddings", "matrices"), ("new-rows", "vectors"), ("new-layers", "output")]
)
def test_rates_of_what_is_frozen_are_refused(trains: str, group: str) -> None:
    with pytest.raises(
        ValueError, match=f"learning_rate_multipliers.{group} would do nothing: the phase trains {trains}"
    ):
        Phase(name="a", trains=trains, learning_rate_multipliers={group: 0.5})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ('{"new_rows": [[1, 2]]}', "new_layers"),
        ('{"new_rows": [[1, 2, 3]], "new_layers": []}', "expected"),
        ('{"new_rows": [[300, 331]], "new_layers": []}', "330 rows"),
        ('{"new_rows": [[5, 5]], "new_layers": []}', "330 rows"),
        ('{"new_rows": [], "new_layers": [-1]}', "new_layers lie outside"),
    ],
)
def test_an_expansion_file_that_does_not_fit_is_refused(
    inputs: Inputs, tmp_path: Path, text: str, message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(inputs.one("model").path, folder)
    (folder / EXPANSION).write_text(text)
    other = Inputs({"model": [artifact(folder, "model")], "tokens": inputs.many("tokens")})
    with pytest.raises(UserError, match=f"{EXPANSION}.*{message}"):
        prepare(other, tmp_path, settings())


def test_runs_of_rows() -> None:
    parameter = torch.nn.Parameter(torch.zeros(10, 2))
    rows = find_rows(parameter, [(0, 2), (4, 5), (5, 6), (9, 10)])
    assert rows.trained == [slice(0, 2), slice(4, 6), slice(9, 10)]
    assert rows.frozen == [slice(2, 4), slice(6, 9)]
    assert find_rows(parameter, [(0, 10)]).frozen == []


def test_the_report_shows_rates_by_group_where_they_differ(expanded: Inputs, tmp_path: Path) -> None:
    figures = []
    for number, given in enumerate(
        (phases("all"), phases("new-rows", "all", learning_rate_multipliers={"embeddings": 0.5}))
    ):
        output = train(expanded, tmp_path / str(number), settings(steps=4, phases=given))
        figures.append(rate_curve(read_training(artifact(output, "model"))))
    plain, staged = figures
    assert len(plain.data) == 1
    labels = [note.text for note in staged.layout.annotations]
    assert sorted(labels) == ["0-new-rows", "1-all", "embeddings", "matrices and vectors", "output"]
    assert [list(line.y) for line in staged.data] == [
        [5e-4, 5e-4, 5e-4, 5e-4],
        [1e-3, 1e-3, 1e-3, 1e-3],
        [0.0, 0.0, 1e-3, 1e-3],
    ]
