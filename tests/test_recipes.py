"""Every shipped recipe is walked to its end: on real text, with few documents and few steps."""

import json
from collections.abc import Callable
from pathlib import Path

import base_tokenizers
import pytest
import tokenizer_corpora
import torch
import yaml
from chat_server import Server
from commands import diglot

from diglot.model.decoder import Decoder
from diglot.model.huggingface import save_decoder
from diglot.model.presets import initialize, shape
from diglot.recipe.model import Shape

ROOT = Path(__file__).resolve().parent.parent
TINY = Shape(num_layers=1, hidden_size=32, intermediate_size=64, num_heads=2, num_key_value_heads=2)


def walk(recipe: str, run: Path, overrides: dict[str, object]) -> dict:
    """Run a recipe with overrides; returns what `diglot show --json` says of it."""
    settings = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    done = diglot("run", ROOT / "recipes" / recipe, "--run", run, *settings)
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    return json.loads(diglot("show", run, "--json").stdout)


def trainings(recipe: str) -> dict[str, dict]:
    stages = yaml.safe_load((ROOT / "recipes" / recipe).read_text())["stages"]
    return {name: stage for name, stage in stages.items() if stage["do"] in ("train", "sweep")}


@pytest.mark.full
def test_arabic(data: Path, tmp_path: Path) -> None:
    overrides: dict[str, object] = {
        "corpus.sources.english.path": str(data / "raw_text/en/wikipedia_mlqa.jsonl.zst"),
        "corpus.sources.arabic.path": str(data / "raw_text/ar/wikipedia_mlqa.jsonl.zst"),
        "corpus.sources.parallel": {
            "path": str(data / "parallel/en-ar"), "language": "en", "target_language": "ar", "text": "src",
            "target_text": "tgt", "limit": 800,
        },
        "instructions.sources.chat-english.path": str(data / "instruct/alpaca_en_demo.jsonl.zst"),
        "instructions.sources.chat-english.limit": 200,
        "instructions.sources.chat-arabic.path": str(data / "instruct/cidar_keywords_ar.jsonl.zst"),
        "instructions.sources.chat-arabic.limit": 200,
        "preferences.sources.pairs.path": str(data / "preference/dpo_en_demo.jsonl.zst"),
        "preferences.sources.pairs.limit": 200,
        "tokenizer.vocabulary_size": 1500,
        "tokenizer-extended.new_tokens": 800,
        "base-init.shape": TINY.model_dump(exclude_none=True),
    }  # fmt: skip
    for name in trainings("arabic.yaml"):
        overrides |= {f"{name}.steps": 3, f"{name}.evaluate_tokens": 2000}
    overrides |= {"trunk.export_every": 2, "decay-one.from.model": "trunk@2"}
    for stage in ("base", "expanded", "continued", "aligned"):
        overrides |= {f"evaluate-{stage}.{key}": 5 for key in ("continuations", "translations", "limit")}
    stages = walk("arabic.yaml", tmp_path / "run", overrides)["stages"]
    assert {stage["state"] for stage in stages.values()} == {"done"}
    proofs = stages["tokenizer-extended"]["summary"]["proofs"]
    assert all(proof["passed"] for proof in proofs.values())


@pytest.fixture
def llama_3(data: Path, tmp_path: Path) -> Path:
    """A Llama-3-style base with random weights, trained for English alone as far as its tokenizer goes."""
    texts = [text for _, text in tokenizer_corpora.real_documents(data, "en", 1_000_000)]
    tokenizer = base_tokenizers.llama_3(tmp_path / "tokenizer", texts, 3000)
    decoder = Decoder(shape("llama-3-8b", 3008, TINY))
    initialize(decoder, seed=0)
    save_decoder(decoder.to(torch.bfloat16), tmp_path / "base", tokenizer)
    return tmp_path / "base"


@pytest.mark.slow
def test_new_languages(llama_3: Path, data: Path, tmp_path: Path) -> None:
    overrides: dict[str, object] = {
        "corpus.sources.english.path": str(data / "raw_text/en/wikipedia_mlqa.jsonl.zst"),
        "corpus.sources.arabic.path": str(data / "raw_text/ar/wikipedia_mlqa.jsonl.zst"),
        "corpus.sources.indonesian.path": str(data / "raw_text/id/detik_news.jsonl.zst"),
        "corpus.sources.thai.path": str(data / "raw_text/th/thaigov_news.jsonl.zst"),
        "base.path": str(llama_3),
        "tokenizer.new_tokens": 900,
        "trained.steps": 10,
        "trained.batch_size": 4,
        "trained.micro_batch_size": 2,
        "trained.sequence_length": 128,
        "trained.evaluate_tokens": 2000,
        "evaluate-base.continuations": 5,
        "evaluate-trained.continuations": 5,
    }
    for language in ("english", "arabic", "indonesian", "thai"):
        overrides[f"corpus.sources.{language}.limit"] = 300
    stages = walk("new-languages.yaml", tmp_path / "run", overrides)["stages"]
    summary = stages["tokenizer"]["summary"]
    assert summary["kind"] == "byte-level"
    failed = {name for name, proof in summary["proofs"].items() if not proof["passed"]}
    assert failed <= {"identity"}  # Indonesian has English's letters: measured, not required
    assert stages["expanded"]["summary"]["rows_after"] % 128 == 0
    lines = (tmp_path / "run/trained/logs/metrics.jsonl").read_text().split("\n")
    steps = [json.loads(line) for line in lines if '"step", ' in line]
    assert steps[0]["learning_rates"]["matrices"] == 0.0 < steps[0]["learning_rates"]["embeddings"]
    assert steps[-1]["learning_rates"]["matrices"] > 0.0


SHORT = {"steps": 4, "batch_size": 4, "micro_batch_size": 2, "sequence_length": 128, "evaluate_tokens": 500}


@pytest.mark.full
def test_polylm(data: Path, tmp_path: Path) -> None:
    """Eighteen languages, GPT-2's shape, bfloat16 with the residual stream in float32, a curriculum, instructions."""
    recipe = yaml.safe_load((ROOT / "recipes" / "polylm-1.7b.yaml").read_text())["stages"]
    overrides: dict[str, object] = {
        "tokenizer.vocabulary_size": 2500,
        "init.shape": TINY.model_dump(exclude_none=True),
        "base.export_every": 2,
        "instructions.sources.chat-english": {"path": str(data / "instruct/alpaca_en_demo.jsonl.zst"), "language": "en", "limit": 60},
        "instructions.sources.chat-arabic": {"path": str(data / "instruct/cidar_keywords_ar.jsonl.zst"), "language": "ar", "limit": 60},
        **{f"{name}.{key}": value for name in trainings("polylm-1.7b.yaml") for key, value in SHORT.items()},
        **{f"evaluate-{stage}.{key}": 2 for stage in ("base", "aligned") for key in ("continuations", "translations")},
    }  # fmt: skip
    for name, source in recipe["corpus"]["sources"].items():
        if (other := source.get("target_language")) is None:
            files = sorted((data / "raw_text" / source["language"]).glob("*.zst"), key=lambda file: file.stat().st_size)
            given = {"path": str(files[0]), "language": source["language"], "limit": 40}
        else:
            given = {"path": str(data / f"parallel/en-{other}"), "language": "en", "target_language": other}
            given |= {"text": "src", "target_text": "tgt", "limit": 100}
        overrides[f"corpus.sources.{name}"] = given
    stages = walk("polylm-1.7b.yaml", tmp_path / "run", overrides)["stages"]
    assert {stage["state"] for stage in stages.values()} == {"done"}
    assert json.loads((tmp_path / "run/sft/config.json").read_text())["model_type"] == "gpt2"
    assert len(stages["base"]["summary"]["mixture"]["better"]) > 15


def test_polylm_13b_is_polylm_in_large() -> None:
    """The two recipes differ in what table 3 of the paper differs in, and in how they are cut."""
    small, large = (
        yaml.safe_load((ROOT / "recipes" / f"polylm-{size}.yaml").read_text())["stages"] for size in ("1.7b", "13b")
    )  # fmt: skip
    sizes = {"steps", "batch_size", "micro_batch_size", "parallel", "learning_rate"}
    for name in small:
        if name in ("base", "sft"):
            differ = {key for key in small[name] | large[name] if small[name].get(key) != large[name].get(key)}
            assert differ <= sizes | {"phases"}, name
        elif name != "init":
            assert small[name] == large[name]
    for stages in (small, large):
        base = stages["base"]
        assert base["steps"] * base["batch_size"] * base["sequence_length"] == pytest.approx(638e9, rel=1e-3)
        assert base["phases"][0]["warmup"] * base["phases"][0]["share"] * base["steps"] == pytest.approx(2000, rel=0.01)


@pytest.mark.full
def test_allam(llama_3: Path, data: Path, tmp_path: Path) -> None:
    overrides: dict[str, object] = {
        "corpus.sources.english.path": str(data / "raw_text/en/wikipedia_mlqa.jsonl.zst"),
        "corpus.sources.arabic.path": str(data / "raw_text/ar/wikipedia_mlqa.jsonl.zst"),
        "corpus.sources.parallel": {
            "path": str(data / "parallel/en-ar"), "language": "en", "target_language": "ar", "text": "src",
            "target_text": "tgt", "limit": 300,
        },
        "instructions.sources.chat-english.path": str(data / "instruct/alpaca_en_demo.jsonl.zst"),
        "instructions.sources.chat-arabic.path": str(data / "instruct/cidar_keywords_ar.jsonl.zst"),
        "preferences.sources.pairs.path": str(data / "preference/dpo_en_demo.jsonl.zst"),
        "base.path": str(llama_3),
        "tokenizer.new_tokens": 400,
        "sweep.learning_rates": [1e-4, 1e-3],
        "trunk.export_every": 2,
        "decay-one.from.model": "trunk@2",
        "dpo.sequence_length": 512,
    }  # fmt: skip
    overrides = {
        f"{name}.{key}": value for name in trainings("allam-7b.yaml") for key, value in SHORT.items()
    } | overrides
    for name in ("english", "arabic"):
        overrides[f"corpus.sources.{name}.limit"] = 300
    for name in ("instructions.sources.chat-english", "instructions.sources.chat-arabic", "preferences.sources.pairs"):
        overrides[f"{name}.limit"] = 100
    for stage in ("base", "expanded", "continued", "aligned"):
        overrides |= {f"evaluate-{stage}.{key}": 2 for key in ("continuations", "translations")}
    stages = walk("allam-7b.yaml", tmp_path / "run", overrides)["stages"]
    assert {stage["state"] for stage in stages.values()} == {"done"}
    assert len(stages["sweep"]["summary"]["runs"]) == 2


@pytest.fixture
def chatml_base(data: Path, tmp_path: Path) -> Path:
    """SmolLM2 in small: a Llama with random weights, GPT-2's way of cutting text, ChatML."""
    texts = [text for _, text in tokenizer_corpora.real_documents(data, "en", 1_000_000)]
    tokenizer = base_tokenizers.gpt_2(tmp_path / "tokenizer", texts, 3000)
    with base_tokenizers.edited(tokenizer) as specification:
        last = max(token["id"] for token in specification["added_tokens"])
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for number, content in enumerate(("<|im_start|>", "<|im_end|>"), start=last + 1):
            specification["added_tokens"].append({"id": number, "content": content, **flags, "special": True})
    settings = json.loads((tokenizer / "tokenizer_config.json").read_text())
    settings |= {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "chat_template": base_tokenizers.CHATML}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(settings))
    decoder = Decoder(shape("llama-3-8b", last + 3, TINY))
    initialize(decoder, seed=0)
    save_decoder(decoder.to(torch.bfloat16), tmp_path / "base", tokenizer)
    return tmp_path / "base"


def smollm2_in_short(data: Path, base: Path) -> dict[str, object]:
    """The overrides of the recipe's head, with few documents and few steps."""
    overrides: dict[str, object] = {
        "base.path": str(base),
        "corpus.sources.english.path": str(data / "raw_text/en/wikipedia_mlqa.jsonl.zst"),
        "corpus.sources.arabic.path": str(data / "raw_text/ar/wikipedia_mlqa.jsonl.zst"),
        "corpus.sources.news.path": str(data / "raw_text/ar/saudi_newsnet.jsonl.zst"),
        "corpus.sources.parallel.path": str(data / "parallel/en-ar/tatoeba.jsonl.zst"),
        "corpus.sources.parallel.text": "src",
        "corpus.sources.parallel.target_text": "tgt",
        "corpus.decontamination.path": [str(data / f"eval/xquad/{language}.jsonl.zst") for language in ("ar", "en")],
        "instructions.sources.chat-english.path": str(data / "instruct/alpaca_en_demo.jsonl.zst"),
        "instructions.sources.chat-arabic.path": str(data / "instruct/cidar_keywords_ar.jsonl.zst"),
        "made.sources.questions.path": str(data / "eval/arcd/ar.train.jsonl.zst"),
        "preferences.sources.pairs.path": str(data / "preference/alpaca_eval_alpaca-7b_gpt4.jsonl.zst"),
        "instructions.sources.chat-english.limit": 100,
        "preferences.sources.pairs.limit": 60,
        "tokenizer.new_tokens": 300,
    }
    for name in ("english", "arabic", "news", "parallel"):
        overrides[f"corpus.sources.{name}.limit"] = 200
    for name in trainings("smollm2-arabic.yaml"):
        overrides |= {f"{name}.{key}": value for key, value in SHORT.items()}
        overrides |= {f"{name}.steps": 2, f"{name}.batch_size": 2, f"{name}.sequence_length": 512}
    for stage in ("base", "expanded", "trunk", "release", "sft", "aligned"):
        few = {"continuations": 2, "translations": 1, "limit": 2, "max_documents": 4, "max_bytes": 1000}
        overrides |= {f"evaluate-{stage}.{key}": value for key, value in few.items()}
        overrides |= {f"evaluate-{stage}.tasks.{task}.max_new_tokens": 4 for task in ("chat-en", "chat-ar")}
    return overrides


@pytest.mark.slow
def test_smollm2_arabic(chatml_base: Path, data: Path, tmp_path: Path) -> None:
    stages = walk("smollm2-arabic.yaml", tmp_path / "run", smollm2_in_short(data, chatml_base))["stages"]
    assert {stage["state"] for stage in stages.values()} == {"done"}
    _look_at_smollm2(stages, tmp_path / "run")


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_smollm2_arabic_with_the_real_model(models: Path, data: Path, tmp_path: Path) -> None:
    stages = walk("smollm2-arabic.yaml", tmp_path / "run", smollm2_in_short(data, models / "smollm2-135m"))["stages"]
    assert {stage["state"] for stage in stages.values()} == {"done"}
    _look_at_smollm2(stages, tmp_path / "run")
    # The bytes that the base drops are tokens now, and text in every script comes back.
    assert stages["tokenizer"]["summary"]["proofs"]["round_trip"]["passed"]


def _look_at_smollm2(stages: dict[str, dict], run: Path) -> None:
    """The base's chat format is kept, made instructions are read as such, and answers stand in the report."""
    assert stages["tokenizer"]["summary"]["chat_format"] == "chatml"
    made = json.loads((run / "made/ledger.json").read_text())["sources"]
    assert {entry["origin"] for entry in made.values()} == {"made"}
    assert min(entry["kept"]["documents"] for entry in made.values()) > 0
    read = stages["tokens"]["summary"]["sources"]
    assert {*made, "chat-english", "chat-arabic", "english", "arabic", "news", "parallel", "pairs"} == set(read)
    added = json.loads((run / "dpo/tokenizer.json").read_text())["added_tokens"]
    (end,) = (token["id"] for token in added if token["content"] == "<|im_end|>")
    assert end in json.loads((run / "dpo/generation_config.json").read_text())["eos_token_id"]
    page = next((run / "report").glob("*.html")).read_text()
    assert "chat, made" in page
    assert "ما عاصمة مصر؟" in page


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_self_taught(models: Path, serve: Callable[..., Server], tmp_path: Path) -> None:
    """A real model learns of a teacher's tasks and of its own answers; the teacher is a server that writes Arabic ones."""
    endpoint = {"url": serve().url, "model": "tiny"}
    overrides: dict[str, object] = {
        "base.path": str(models / "smollm2-135m"),
        "written": {"do": "self-instruct", "endpoint": endpoint, "languages": ["ar"], "rounds": 2, "first_prompts": 2,
                    "prompts": 2, "held_out": 0.2},
        "compared.endpoint": endpoint,
    }  # fmt: skip
    for name in ("sft", "dpo-1", "dpo-2"):
        overrides |= {
            f"{name}.steps": 2,
            f"{name}.batch_size": 1,
            f"{name}.evaluate_every": 2,
            f"{name}.evaluate_tokens": 500,
        }
    for name in ("drawn-1", "drawn-2", "before", "after"):
        overrides |= {f"{name}.limit": 4, f"{name}.answers": 2, f"{name}.max_new_tokens": 24}
    for name in ("judged-1", "judged-2"):  # what such short answers can keep or break
        overrides |= {
            f"{name}.rules": {"language": False, "ended": False, "max_repetition": 0.01, "min_characters": 60}
        }
        overrides |= {f"{name}.held_out": 0}
    stages = walk("self-taught.yaml", tmp_path / "run", overrides)["stages"]
    assert {stage["state"] for stage in stages.values()} == {"done"}
    assert stages["dpo-2"]["summary"]["steps"] == 2
