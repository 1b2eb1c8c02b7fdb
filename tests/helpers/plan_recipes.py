"""A recipe in the shape of PolyLM's, small or large."""

CORPUS = {"do": "curate", "sources": {"web": {"path": "text/*.jsonl", "language": "en"}}}


def train(model: str, tokens: str, **settings) -> dict:
    given = {"steps": 100, "batch_size": 256, "sequence_length": 2048, "precision": "bfloat16"}
    return {"do": "train", "from": {"model": model, "tokens": tokens}, **given, **settings}


def new_model(preset: str, vocabulary_size: int) -> dict:
    """The stages before a training from nothing: `init` and `tokens` are what it reads."""
    return {
        "corpus": CORPUS,
        "tokenizer": {"do": "train-tokenizer", "from": "corpus", "vocabulary_size": vocabulary_size},
        "tokens": {"do": "encode", "from": {"tokenizer": "tokenizer", "corpus": "corpus"}},
        "init": {"do": "new-model", "from": "tokenizer", "preset": preset},
    }


def extended(path: str) -> dict:
    """The stages that give the model in a folder 500 tokens more; `expand` is left to who calls."""
    adding = {"languages": ["ar"], "new_tokens": 500}
    return {
        "corpus": CORPUS,
        "base": {"do": "import-model", "path": path},
        "longer": {"do": "extend-tokenizer", "from": {"tokenizer": "base", "corpus": "corpus"}, **adding},
        "tokens": {"do": "encode", "from": {"tokenizer": "longer", "corpus": "corpus"}},
    }


def expand(**settings) -> dict:
    return {"do": "expand", "from": {"model": "base", "tokenizer": "longer"}, "new_layers": 2, **settings}


def polylm(preset: str = "polylm-13b", **settings) -> dict:
    """PolyLM as a recipe: 640B tokens in batches of 2048 × 2048."""
    given = {"steps": 152_588, "batch_size": 2048, "micro_batch_size": 1}
    stages = new_model(preset, 256_000) | {"pretrain": train("init", "tokens", **{**given, **settings})}
    return {"name": "polylm", "stages": stages}
