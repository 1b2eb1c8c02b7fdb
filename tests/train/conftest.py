"""What the tests of training share: real artifacts up to a tiny model and its tokens."""

import itertools
import json
from collections.abc import Callable

import pytest
from tiny_run import artifact, sentences

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.recipe.encode import Encode
from diglot.recipe.model import NewModel
from diglot.recipe.tokenizer import TrainTokenizer
from diglot.train import loop


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets steps of these numbers fail, from 1, counted from then on over all runs: what was killed is not so again."""
    real = loop.update

    def fail(*numbers: int) -> None:
        counter = itertools.count(1)

        def failing(*given):
            if next(counter) in numbers:
                raise RuntimeError("killed")
            return real(*given)

        monkeypatch.setattr(loop, "update", failing)

    return fail


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A corpus, tasks and preferences of toy sentences, through the real stages up to tokens and a tiny model."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from diglot.encode import stage as encode
    from diglot.model import presets
    from diglot.tokenizer import train as train_tokenizer

    folder = tmp_path_factory.mktemp("stages")
    for split, count, seed in (("documents", 300, 1), ("heldout", 30, 2)):
        (folder / "corpus" / split).mkdir(parents=True)
        texts = sentences(count, seed)
        table = {"id": [str(i) for i in range(count)], "text": texts}
        table |= {
            key: [value] * count
            for key, value in {"language": "en", "domain": "web", "source": "english", "origin": "natural"}.items()
        }
        pq.write_table(pa.table(table), folder / "corpus" / split / "english-00000.parquet")
    (folder / "instructions").mkdir()
    (folder / "preferences").mkdir()
    for split, seed in (("train", 3), ("heldout", 4)):
        texts = sentences(120, seed)
        conversations, pairs = [], []
        for i in range(0, 120, 3):
            prompt, chosen, rejected = (
                {"role": role, "content": text}
                for role, text in zip(("user", "assistant", "assistant"), texts[i : i + 3])
            )
            conversations.append(
                {"id": f"{split}{i}", "source": "chat", "language": "en", "messages": [prompt, chosen]}
            )
            pairs.append(
                {
                    "id": f"{split}{i}",
                    "source": "pairs",
                    "language": "en",
                    "prompt": [prompt],
                    "chosen": [chosen],
                    "rejected": [rejected],
                }
            )
        (folder / "instructions" / f"{split}.jsonl").write_text(
            "".join(json.dumps(one) + "\n" for one in conversations)
        )
        (folder / "preferences" / f"{split}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    for name, source, domain in (
        ("corpus", "english", "web"),
        ("instructions", "chat", "chat"),
        ("preferences", "pairs", "chat"),
    ):
        counts = {"kept": {"documents": 300}, "held_out": {"documents": 30}}
        ledger = {"sources": {source: {"language": "en", "domain": domain, **counts}}}
        (folder / name / "ledger.json").write_text(json.dumps(ledger))
    corpus, instructions, preferences = (
        artifact(folder / name, name) for name in ("corpus", "instructions", "preferences")
    )

    def make(name: str, kind: str, function, settings, given: dict[str, list[Artifact]]) -> Artifact:
        (folder / name).mkdir()
        scratch = folder / f"{name}-scratch"
        scratch.mkdir()
        function(settings, Inputs(given), folder / name, Context(name, 0, scratch, workers=1))
        return artifact(folder / name, kind)

    tokenizer = make(
        "tokenizer",
        "tokenizer",
        train_tokenizer.run,
        TrainTokenizer(vocabulary_size=330, **{"from": "corpus"}),
        {"corpus": [corpus]},
    )
    given = {"tokenizer": [tokenizer], "corpus": [corpus], "instructions": [instructions], "preferences": [preferences]}
    tokens = make("tokens", "tokens", encode.run, Encode(), given)
    model = make(
        "model", "model", presets.run, NewModel(preset="tiny", **{"from": "tokenizer"}), {"tokenizer": [tokenizer]}
    )
    return Inputs({"model": [model], "tokens": [tokens]})
