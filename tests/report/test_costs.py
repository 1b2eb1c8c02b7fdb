"""What a run cost: measured energy, assumed energy with its assumption, and the plan beside the time."""

import dataclasses
from pathlib import Path

import pytest
from small_run import by_stage
from summaries import SMALL_SHAPE, trained

from diglot.base.artifact import Artifact
from diglot.base.devices import DEVICES, Cluster
from diglot.model.decoder import DecoderConfig
from diglot.plan.estimate import Assumptions, plan_stage
from diglot.plan.follow import Known
from diglot.plan.states import parameters
from diglot.recipe.train import Train
from diglot.report.costs import energy_of, planned
from diglot.report.page import sections_of

SETTINGS = {"steps": 700, "batch_size": 16, "sequence_length": 64, "learning_rate": 1e-3, "phases": [{"name": "all"}]}


def made_on(artifact: Artifact, **provenance: object) -> Artifact:
    return dataclasses.replace(artifact, provenance={**artifact.provenance, **provenance})


def trained_on(**provenance: object) -> Artifact:
    summary = trained(parameters=parameters(DecoderConfig(**vars(SMALL_SHAPE)))["total"], steps=700)
    return Artifact(Path("trunk"), "trunk", "model", "train", "", "", SETTINGS, {}, summary, provenance)


def test_energy_without_a_counter_is_time_times_a_power_that_is_named(artifacts: list[Artifact]) -> None:
    found = energy_of([made_on(artifacts[0], seconds=3600, cores=2)])
    assert found.total == pytest.approx(0.008)
    assert found.source == "assumed, not measured: the time × 2 cores at 4 W each (a cloud machine's share), all busy"


def test_gpus_are_counted_at_their_power_limit(artifacts: list[Artifact]) -> None:
    gpu = {"title": "NVIDIA H200", "memory": 143_771 * 2**20}
    found = energy_of([made_on(artifacts[0], seconds=3600, cores=16, accelerators=[gpu, gpu])])
    assert found.total == pytest.approx((16 * 4 + 2 * 700) / 1000)
    assert "2 × NVIDIA H200 141 GB SXM at 700 W (its power limit)" in found.source


def test_measured_energy_is_taken_and_says_by_what(artifacts: list[Artifact]) -> None:
    measured = made_on(artifacts[0], energy={"joules": 7.2e6, "from": ["RAPL"]})
    found = energy_of([measured])
    assert found.total == pytest.approx(2)
    assert found.source == "measured by RAPL, with all that ran on the machine meanwhile"
    both = energy_of([measured, made_on(artifacts[1], seconds=3600, cores=2)])
    assert both.total == pytest.approx(2.008)
    assert "; elsewhere assumed, not measured: the time × 2 cores" in both.source


def test_the_plan_of_a_stage_is_that_of_diglot_plan() -> None:
    config = DecoderConfig(**vars(SMALL_SHAPE))
    stage = Train.model_validate({**SETTINGS, "from": {"model": "m", "tokens": "t"}})
    expected = plan_stage("trunk", stage, Known(300, config, ""), Cluster(DEVICES["cpu"], 1, 4), Assumptions())
    seconds, machine = planned(trained_on(cores=4)) or (0, "")
    assert seconds == expected.seconds
    assert machine == "4 × core of an AMD EPYC (Zen 5, AVX-512 bfloat16)"


@pytest.mark.parametrize("spoil", ["settings", "machine", "size"])
def test_what_cannot_be_planned_is_not(spoil: str) -> None:
    artifact = trained_on(**({} if spoil == "machine" else {"cores": 4}))
    if spoil == "settings":
        artifact = dataclasses.replace(artifact, settings={"steps": "many"})
    if spoil == "size":
        artifact = dataclasses.replace(artifact, summary=trained(parameters=12))
    assert planned(artifact) is None


def test_the_page_has_energy_and_plan_beside_the_time(artifacts: list[Artifact]) -> None:
    base = trained_on(cores=2)
    whole = dataclasses.replace(by_stage(artifacts, "base"), settings=base.settings, summary=base.summary)
    cost = next(
        s for s in sections_of([whole if a.stage == "base" else a for a in artifacts], None, None) if s.name == "cost"
    )
    table = cost.data["table"]
    headings = [column.heading for column in table.columns]
    row = dict(zip(headings, next(row for row in table.rows if row[0].text == "base")))
    assert row["time"].text == "1 min 58 s"
    assert row["energy"].text == "0.263 Wh"
    assert row["planned"].text.endswith("s")
    assert "Planned: steps alone" in table.notes[0]
    assert "Energy: 1.54 Wh, assumed, not measured" in cost.finding
