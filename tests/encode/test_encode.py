"""Encoding: the files say what the text said, special tokens come from the format alone, mistakes are refused."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import base_tokenizers
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import tokenizers
from tokenizers import models, trainers

from diglot.base.artifact import Artifact, Context, Inputs, content_hash
from diglot.base.errors import UserError
from diglot.encode import conversations, encoder
from diglot.encode import stage as encode
from diglot.recipe.encode import Encode
from diglot.recipe.train import DocumentWeight
from diglot.tokenizer import byte_fallback
from diglot.tokenizer.folder import load_tokenizer, tokenizer_hash
from diglot.tokens.mixture import PhasePlan
from diglot.tokens.order import Order
from diglot.tokens.shards import open_tokens

TEXTS = ["A baker bakes bread.", "الخباز يخبز الخبز.", "", "</s><|user|> is text", "x" * 300, "\u2028\n\nend"]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who bakes <|end|>?"},
    {"role": "assistant", "content": "A baker."},
    {"role": "user", "content": "And who sells?"},
    {"role": "assistant", "content": "خباز."},
]


def artifact(path: Path, kind: str) -> Artifact:
    return Artifact(path, path.name, kind, kind, "", "", {}, {}, {}, {})


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("tokenizer")
    trained = tokenizers.Tokenizer(models.BPE())
    trained.normalizer = byte_fallback.normalizer()
    trained.pre_tokenizer = byte_fallback.word_splitter()
    trainer = trainers.BpeTrainer(vocab_size=80, min_frequency=1, show_progress=False)
    trained.train_from_iterator(TEXTS[:2] * 5, trainer)
    model = json.loads(trained.to_str())["model"]
    ordered = sorted(model["vocab"], key=model["vocab"].__getitem__)
    byte_fallback.write_folder(folder, byte_fallback.build(ordered, [(a, b) for a, b in model["merges"]]))
    return artifact(folder, "tokenizer")


def ledger(path: Path, sources: dict[str, tuple[str, str, int, int]]) -> None:
    entries = {
        name: {"language": language, "domain": domain, "kept": {"documents": kept}, "held_out": {"documents": held}}
        for name, (language, domain, kept, held) in sources.items()
    }
    (path / "ledger.json").write_text(json.dumps({"sources": entries}))


@pytest.fixture
def corpus(tmp_path: Path) -> Artifact:
    """`wiki` has two files and two held-out documents; `wiki-2` must not be taken for it."""
    path = tmp_path / "corpus"
    files = {
        "documents/wiki-00000": TEXTS[:4],
        "documents/wiki-00001": TEXTS[4:],
        "documents/wiki-2-00000": ["other"],
        "heldout/wiki-00000": TEXTS[:2],
    }
    for name, texts in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        ids = [f"{name}/{number}" for number in range(len(texts))]
        parquet.write_table(pa.table({"id": ids, "text": texts}), path / f"{name}.parquet")
    ledger(path, {"wiki": ("en", "wiki", 6, 2), "wiki-2": ("en", "wiki", 1, 0)})
    return artifact(path, "corpus")


@pytest.fixture
def instructions(tmp_path: Path) -> Artifact:
    path = tmp_path / "instructions"
    path.mkdir()
    record = {"id": "c/1", "source": "chat", "language": "en", "messages": CHAT}
    (path / "train.jsonl").write_text(json.dumps(record) + "\n")
    (path / "heldout.jsonl").write_text("")
    ledger(path, {"chat": ("en", "chat", 1, 0)})
    return artifact(path, "instructions")


@pytest.fixture
def preferences(tmp_path: Path) -> Artifact:
    path = tmp_path / "preferences"
    path.mkdir()
    record = {
        "id": "p/1",
        "source": "pairs",
        "language": "ar",
        "prompt": CHAT[:4],
        "chosen": CHAT[4:],
        "rejected": [{"role": "assistant", "content": "No."}],
    }
    (path / "train.jsonl").write_text(json.dumps(record) + "\n")
    (path / "heldout.jsonl").write_text(json.dumps({**record, "id": "p/2"}) + "\n")
    ledger(path, {"pairs": ("ar", "chat", 1, 1)})
    return artifact(path, "preferences")


@pytest.fixture
def encoded(tmp_path: Path, context: Context, tokenizer: Artifact) -> Callable[..., tuple[Path, dict]]:
    def run(settings: dict | None = None, **inputs: list[Artifact]) -> tuple[Path, dict]:
        output = tmp_path / f"tokens{len(list(tmp_path.glob('tokens*')))}"
        output.mkdir()
        checked = Encode.model_validate({"do": "encode", **(settings or {})})
        return output, encode.run(checked, Inputs({"tokenizer": [tokenizer], **inputs}), output, context)

    return run


def test_what_frames_a_document_can_be_set_and_is_said(
    encoded: Callable, corpus: Artifact, tokenizer: Artifact, tmp_path: Path
) -> None:
    output, summary = encoded({"document_start": "<pad>", "document_end": "<unk>"}, corpus=[corpus])
    source = open_tokens([output], None)["wiki"]
    assert [source.tokens[0], source.tokens[source.offsets[1] - 1]] == [3, 0]
    assert (summary.frame.start, summary.frame.end, summary.warnings()) == ("<pad>", "<unk>", [])
    # A tokenizer that names the ends of messages: its end of text is found.
    chat = Path(shutil.copytree(tokenizer.path, tmp_path / "chat"))
    config = json.loads((chat / "tokenizer_config.json").read_text()) | {
        "bos_token": "<|user|>",
        "eos_token": "<|end|>",
    }
    (chat / "tokenizer_config.json").write_text(json.dumps(config))
    output, summary = encoded(corpus=[corpus], tokenizer=[artifact(chat, "tokenizer")])
    source = open_tokens([output], None)["wiki"]
    assert [source.tokens[0], source.tokens[source.offsets[1] - 1]] == [1, 2]
    assert summary.warnings()[0].startswith(
        "documents stand between <s> and </s>: the tokenizer's bos <|user|> and eos"
    )


def test_a_document_is_bos_its_text_and_eos(encoded: Callable, corpus: Artifact, tokenizer: Artifact) -> None:
    output, summary = encoded(corpus=[corpus])
    assert summary.sources["wiki"].train.documents == 6
    loaded, special = load_tokenizer(tokenizer.path), base_tokenizers.special_ids_of(tokenizer.path)
    source = open_tokens([output], tokenizer_hash(tokenizer.path))["wiki"]
    assert source.tokens.dtype == np.uint16
    assert source.num_documents == 6
    for number, text in enumerate(TEXTS):
        ids = source.tokens[source.offsets[number] : source.offsets[number + 1]].tolist()
        assert (ids[0], ids[-1]) == (special["bos"], special["eos"])
        assert not {special[name] for name in ("bos", "eos", "user", "end")} & set(ids[1:-1])
        assert loaded.decode(ids[1:-1], skip_special_tokens=False) == text
        assert source.bytes[number] == len(text.encode())
    assert source.document_ids([0, 4]) == ["documents/wiki-00000/0", "documents/wiki-00001/0"]
    heldout = open_tokens([output], None, "heldout")
    assert list(heldout) == ["wiki"]
    assert heldout["wiki"].num_documents == 2


def test_only_answers_and_their_ends_are_predicted(
    encoded: Callable, instructions: Artifact, tokenizer: Artifact
) -> None:
    output, _ = encoded(instructions=[instructions])
    source = open_tokens([output], None)["chat"]
    assert source.targets is not None
    predicted = source.tokens[source.targets == 1].tolist()
    text = load_tokenizer(tokenizer.path).decode(predicted, skip_special_tokens=False)
    assert text == "A baker.<|end|>خباز.<|end|>"
    assert source.tokens.tolist().count(base_tokenizers.special_ids_of(tokenizer.path)["end"]) == len(
        CHAT
    )  # none from text
    assert source.bytes.tolist() == [len("A baker.خباز.".encode())]


def test_a_pair_is_two_conversations_of_which_the_last_answer_counts(
    encoded: Callable, preferences: Artifact, tokenizer: Artifact
) -> None:
    output, summary = encoded(preferences=[preferences])
    source = open_tokens([output], None)["pairs"]
    assert source.targets is not None
    assert summary.sources["pairs"].train.documents == source.num_documents == 2
    loaded = load_tokenizer(tokenizer.path)
    answers = []
    for number in range(2):
        inside = slice(source.offsets[number], source.offsets[number + 1])
        predicted = source.tokens[inside][source.targets[inside] == 1].tolist()
        answers.append(loaded.decode(predicted, skip_special_tokens=False))
    assert answers == ["خباز.<|end|>", "No.<|end|>"]
    assert source.bytes.tolist() == [len("خباز.".encode()), 3]
    assert source.document_ids([0, 1]) == ["p/1", "p/1"]


def test_everything_encoded_can_be_trained_on(
    encoded: Callable, corpus: Artifact, instructions: Artifact, preferences: Artifact
) -> None:
    output, summary = encoded(corpus=[corpus], instructions=[instructions], preferences=[preferences])
    assert list(summary.sources) == ["wiki", "wiki-2", "chat", "pairs"]
    order = Order(open_tokens([output], None), [PhasePlan("all", 5)], 4, 256, 0)
    names = {name for step in range(5) for name, *_ in order.documents(step)}
    assert "wiki" in names
    assert order.batch(4).tokens_BT.max() < summary.vocabulary_size


def test_the_same_inputs_give_the_same_files(encoded: Callable, corpus: Artifact, instructions: Artifact) -> None:
    outputs = [encoded(corpus=[corpus], instructions=[instructions])[0] for _ in range(2)]
    assert content_hash(outputs[0]) == content_hash(outputs[1])


def test_chunks_do_not_change_the_result(
    encoded: Callable, corpus: Artifact, instructions: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encoded(corpus=[corpus], instructions=[instructions])[0]
    monkeypatch.setattr(encode, "CHUNK_BYTES", 10)
    monkeypatch.setattr(conversations, "CHUNK_ROWS", 1)
    cut = encoded(corpus=[corpus], instructions=[instructions])[0]
    for file in whole.glob("*.npy"):
        assert file.read_bytes() == (cut / file.name).read_bytes(), file.name


def test_threads_do_not_change_the_result(
    encoded: Callable, corpus: Artifact, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "CHUNK_BYTES", 10)
    outputs = []
    for workers in (1, 4):
        context.workers = workers
        outputs.append(encoded(corpus=[corpus])[0])
    assert content_hash(outputs[0]) == content_hash(outputs[1])


def test_text_that_has_no_token_is_counted_by_source_and_said(
    encoded: Callable, corpus: Artifact, tmp_path: Path
) -> None:
    folder = base_tokenizers.gpt_2(tmp_path / "gpt-2", ["the bread"], 280)
    with base_tokenizers.edited(folder) as specification:
        del specification["model"]["vocab"]["Ø"]  # D8, which many Arabic letters begin with
    _, summary = encoded(corpus=[corpus], tokenizer=[artifact(folder, "tokenizer")])
    lost = sum(text.encode().count(b"\xd8") for text in [*TEXTS, *TEXTS[:2]])
    assert summary.unspelled == {"wiki": lost}
    assert summary.warnings()[-1].startswith(f"source wiki {lost} times holds what the tokenizer has no token for")


def test_the_engine_is_checked_on_every_source_and_named(encoded: Callable, corpus: Artifact) -> None:
    _, summary = encoded(corpus=[corpus])
    assert summary.engine.name == "kernel"
    assert summary.engine.difference is None
    assert summary.engine.documents_checked >= 7  # wiki's six and wiki-2's one


def test_an_engine_that_encodes_otherwise_is_replaced_before_anything_is_written(
    encoded: Callable, corpus: Artifact, tokenizer: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = encoded(corpus=[corpus])[0]
    other = json.loads((tokenizer.path / "tokenizer.json").read_text(encoding="utf-8"))
    other["model"]["merges"] = other["model"]["merges"][:-10]
    wrong = encoder.Kernel.of(other)
    monkeypatch.setattr(encoder.Kernel, "of", lambda specification: wrong)
    output, summary = encoded(corpus=[corpus])
    assert summary.engine.name == "tokenizers"
    assert any(summary.engine.difference in text for text in TEXTS)
    assert content_hash(output) == content_hash(right)


def test_documents_of_the_whole_source_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "documents").mkdir()
    for file in range(3):
        texts = [f"{file} {row} " + "x" * 2000 for row in range(600)]
        table = pa.table({"id": [str(row) for row in range(600)], "text": texts})
        parquet.write_table(table, tmp_path / "documents" / f"s-{file:05d}.parquet", row_group_size=300)
    origin = encode.Origin("s", "text", "en", "web", artifact(tmp_path, "corpus"), {"train": 1800, "heldout": 0})
    texts = encode.texts_to_check(origin)
    assert len(texts) == 400
    places = [tuple(map(int, text.split(" ")[:2])) for text in texts]
    assert places[:200] == [(0, row) for row in range(200)]
    assert {file for file, _ in places[200:]} == {0, 1, 2}
    assert sum(map(len, texts)) <= encode.MOST_CHECKED


def test_a_name_in_two_inputs_is_refused(encoded: Callable, corpus: Artifact, instructions: Artifact) -> None:
    ledger(instructions.path, {"wiki": ("en", "chat", 1, 0)})
    with pytest.raises(UserError, match="source 'wiki' is in both 'corpus' and 'instructions'"):
        encoded(corpus=[corpus], instructions=[instructions])


def test_sources_can_be_chosen_and_unknown_ones_are_refused(encoded: Callable, corpus: Artifact) -> None:
    _, summary = encoded({"sources": ["wiki-2"]}, corpus=[corpus])
    assert list(summary.sources) == ["wiki-2"]
    with pytest.raises(UserError, match=r"no books in the inputs; there are wiki, wiki-2"):
        encoded({"sources": ["books"]}, corpus=[corpus])
    with pytest.raises(UserError, match="nothing to encode"):
        encoded()


def test_tokens_of_another_tokenizer_are_refused(encoded: Callable, corpus: Artifact) -> None:
    output, _ = encoded(corpus=[corpus])
    with pytest.raises(UserError, match="made with another tokenizer"):
        open_tokens([output], "0" * 32)
    with pytest.raises(UserError, match="also in another token artifact"):
        open_tokens([output, output], None)
    with pytest.raises(UserError, match=r"tokens\.json is missing"):
        open_tokens([corpus.path], None)


def test_columns_are_kept_beside_the_tokens_and_weigh_documents(
    encoded: Callable, corpus: Artifact, instructions: Artifact
) -> None:
    for file in sorted(corpus.path.glob("*/*.parquet")):
        table = parquet.read_table(file)
        sizes = pa.array([7 if "00001" in file.name else 1] * len(table), pa.int32())
        quality = pa.array([None, *[0.5] * (len(table) - 1)], pa.float32())
        parquet.write_table(table.append_column("cluster_size", sizes).append_column("quality", quality), file)
    output, _ = encoded({"keep": ["cluster_size", "quality"]}, corpus=[corpus], instructions=[instructions])
    sources = open_tokens([output], None)
    assert sources["wiki"].columns["cluster_size"].tolist() == [1, 1, 1, 1, 7, 7]
    quality = sources["wiki"].columns["quality"]
    assert quality.dtype == np.float32
    assert np.isnan(quality).tolist() == [True, False, False, False, True, False]
    assert sources["chat"].columns == {}
    assert open_tokens([output], None, "heldout")["wiki"].columns["cluster_size"].tolist() == [1, 1]
    weights = {"wiki": DocumentWeight(column="cluster_size", by="value", low=0, high=2)}
    order = Order(sources, [PhasePlan("all", 40, {"wiki": 1.0})], 1, 256, 0, weights=weights)
    beginnings = [
        (name, epoch) for step in range(40) for _, name, epoch, first, _ in order.documents(step) if not first
    ]
    first_pass = Counter(name for name, epoch in beginnings if epoch == 0)
    assert first_pass == {f"documents/wiki-0000{n // 4}/{n % 4}": 1 if n < 4 else 2 for n in range(6)}
    with pytest.raises(UserError, match=r"no column of numbers 'text'; it has cluster_size, quality"):
        encoded({"keep": ["text"]}, corpus=[corpus])


def test_the_sums_of_groups_are_stored(encoded: Callable, corpus: Artifact, instructions: Artifact) -> None:
    output, _ = encoded(corpus=[corpus], instructions=[instructions])
    sources = open_tokens([output], None)
    assert sources["wiki"].groups.tolist() == [sources["wiki"].num_tokens]
    assert sources["chat"].groups is None


def test_a_corpus_for_tests_alone_is_encoded_for_evaluation(tmp_path, corpus, encoded) -> None:
    """`held_out: 1` leaves nothing to train on; training passes such a source by, evaluation within it does not."""
    path = tmp_path / "test-only"
    (path / "documents").mkdir(parents=True)
    (path / "heldout").mkdir()
    parquet.write_table(pa.table({"id": ["t/1", "t/2"], "text": TEXTS[:2]}), path / "heldout/exam-00000.parquet")
    ledger(path, {"exam": ("en", "web", 0, 2)})
    output, _ = encoded(corpus=[corpus, artifact(path, "corpus")])
    assert list(open_tokens([output], None, "train")) == ["wiki", "wiki-2"]
    heldout = open_tokens([output], None, "heldout")
    assert {name: source.num_documents for name, source in heldout.items()} == {"wiki": 2, "exam": 2}
