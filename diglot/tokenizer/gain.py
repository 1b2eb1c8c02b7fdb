"""What an extension of a tokenizer would gain: tokens per word of held-out text with 1,000, 2,000, … 32,000 new tokens.

The tokens are learnt as `extend-tokenizer` does, on the corpus's training documents. Each point is measured with a tokenizer
that has the first of them, so that it is what an extension by that many would come to; nothing is written or proved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from diglot.base.artifact import Artifact, Context, Progress
from diglot.base.errors import UserError
from diglot.recipe.tokenizer import ExtendTokenizer
from diglot.tokenizer.advice import STEPS, BaseModel, advise
from diglot.tokenizer.base import Base, read_base
from diglot.tokenizer.description import read_json
from diglot.tokenizer.extend import Extension, copied, count_words, find_new_tokens
from diglot.tokenizer.folder import load_tokenizer
from diglot.tokenizer.measure import measure
from diglot.tokenizer.sample import languages_of, texts_to_measure

# Of the new language's training text: Arabic's curve to 32,000 took 40 CPU seconds with 44 MB.
SAMPLE_BYTES = 50_000_000
MEASURED_BYTES = 500_000  # of held-out text, which is measured for every point


def advice_on(
    folders: Mapping[str, Path], corpora: Sequence[Artifact], languages: Sequence[str], progress: Progress
) -> dict[str, dict[str, dict[str, Any]]]:
    """The verdict on every tokenizer and language, by name, as JSON (`Advice.as_json`).

    Raises:
        UserError: a base cannot be extended, or there is no text in a language.
    """
    context = Context("advice", 0, Path("unused"), progress=progress)  # nothing here writes or is seeded otherwise
    # Of all languages before the first is learnt: that takes a minute.
    for language in languages:
        if language not in languages_of(corpora):
            raise UserError(f"--advise {language}: the corpus has no text in it; give --corpus one that has")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, folder in folders.items():
        model = model_of(folder)
        found[name] = {
            language: advise(curve_of(folder, corpora, language, context), model).as_json() for language in languages
        }
    return found


def curve_of(folder: Path, corpora: Sequence[Artifact], language: str, context: Context) -> list[tuple[int, float]]:
    """New tokens and tokens per word, from the base (0) on.

    Args:
        folder: of the base's tokenizer.
        corpora: with text in the language, and in the base's languages (all others in them).
        language: the new one.
        context: for progress and the seed.

    Raises:
        UserError: the base cannot be extended, or there is no text in the language.
    """
    base = read_base(folder)
    settings = ExtendTokenizer(languages=[language], new_tokens=STEPS[-1], max_bytes=SAMPLE_BYTES)
    counted = count_words(base, corpora, settings, context)
    extension = find_new_tokens(base.kind, counted.new_words, counted.base_words, settings, context)
    texts = texts_to_measure(corpora, language, MEASURED_BYTES)[1]
    curve = [(0, measure(load_tokenizer(folder), texts, language)["fertility"])]
    # Points below the number of new characters would be another extension's: characters come first.
    least, most = len(extension.characters), len(extension.tokens)
    for number in (*(step for step in STEPS if least <= step < most), *([most] if most else [])):
        context.progress(number, most, "new tokens", f"{folder.name}, {language}")
        curve.append((number, measure(_extended(base, extension, number), texts, language)["fertility"]))
    return curve


def _extended(base: Base, extension: Extension, number: int) -> Tokenizer:
    """The tokenizer with the first so many new tokens."""
    kind = copied(base.kind)
    kind.add(extension.characters, extension.joined[: number - len(extension.characters)])
    tokenizer = kind.tokenizer()
    tokenizer.encode_special_tokens = True  # as every tokenizer is loaded here
    return tokenizer


def model_of(folder: Path) -> BaseModel | None:
    """The model that a tokenizer lies beside; None where it is not known.

    `tie_word_embeddings` is looked for in the weights: its default differs between families.
    """
    config = read_json(folder / "config.json", optional=True)
    of_text = config.get("text_config")
    sizes = of_text if isinstance(of_text, dict) else config
    hidden_size = sizes.get("hidden_size", sizes.get("n_embd"))
    shapes: dict[str, list[int]] = {}
    # Of this name alone: Mistral's folders have the weights twice, by other names in consolidated.safetensors.
    for file in sorted(folder.glob("model*.safetensors")):
        try:
            with safe_open(file, "numpy") as weights:
                shapes |= {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return None
    if not isinstance(hidden_size, int) or not shapes:
        return None
    parameters = sum(math.prod(shape) for shape in shapes.values())
    return BaseModel(hidden_size, not any("lm_head" in name for name in shapes), parameters)
