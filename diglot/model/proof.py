"""Import with proof: the logits of what we read equal transformers' own, before anything is written.

    reason = "…"
    config, proof = prove(folder, config, tokenizer)          # refuses what differs

The probe is a few hundred tokens: text in several scripts, random ids, one token alone, and a document that is long (and
reaches behind a window's edge where there is one). We read them packed into rows with padding, transformers each
document alone, with its plainest attention; all in float32.

What rounding explains, by how much a token's logits differ at most, as a share of the largest logit. Measured on
SmolLM2-135M (30 layers; our attention against `eager`, float32):

    tokens                                        rounding    epsilon 1e-6 for 1e-5    rotary base 1% off    0.1% off
    half of them at most (TYPICAL 1e-5)           9e-7        4e-4                     4e-4                  4e-5
    all but three at most (TOLERANCE 1e-4)        2e-6        1e-3                     1e-3                  1e-4
    one of random ids, where rounding decides     8e-5        3e-1                     6e-3                  8e-4

That last token is why three are left out: float32 is 4e-4 from float64 there, in transformers' module as in ours; a
mixture's token that lies between two experts is another. Small random models are below 1e-6 throughout.

A family that transformers computes (foreign.py) is tried packed first, and document by document where that fails.
Models above MAX_PARAMETERS are not compared: two float32 copies, one after the other, would take 8 GB and more. A foreign one is
then read packed if its family is one of those whose small models are (tests/model/test_foreign.py proves them), or refused.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from diglot.base.errors import UserError
from diglot.base.format import excerpt
from diglot.base.notice import quieten_libraries
from diglot.base.summaries.model import Proof
from diglot.model.causal import CausalModel, ModelConfig
from diglot.model.families import read_raw_config
from diglot.model.families.foreign import Documents, ForeignConfig
from diglot.model.foreign import ForeignModel, NotPackable, load_foreign
from diglot.model.huggingface import count_parameters, load_decoder

TOLERANCE, TYPICAL = 1e-4, 1e-5
LEFT_OUT = 3
MAX_PARAMETERS = 2 * 10**9
MAX_EDGE = 1024  # longest document of the probe: a window's edge farther away would take too long
BEHIND = 16  # tokens of a document that reaches behind a window's edge
LONG = 128  # tokens of the longest document, where no window asks for more
# Families whose small models are packed, as tests/model/test_foreign.py proves.
PACKED = frozenset(
    [
        "apertus",
        "cohere",
        "cohere2",
        "ernie4_5",
        "exaone4",
        "gemma2",
        "gemma3_text",
        "glm4",
        "gpt_bigcode",
        "gpt_neox",
        "gpt_oss",
        "granite",
        "granitemoe",
        "helium",
        "hunyuan_v1_dense",
        "mixtral",
        "nemotron",
        "opt",
        "qwen3_moe",
        "seed_oss",
        "stablelm",
    ]
)
TEXT = (
    "The capital of Egypt is Cairo; 23 million people live there. 2 + 2 = 4.\n"
    "عاصمة مصر هي القاهرة، ويسكنها ٢٣ مليون نسمة. เมืองหลวงของอียิปต์คือไคโร Ibu kota Mesir adalah Kairo. "
    "Столица Египта — Каир. 埃及的首都是开罗。\tdef f(x): return x ** 2  # 🙂"
)


def prove(folder: Path, config: ModelConfig, tokenizer: Tokenizer) -> tuple[ModelConfig, Proof]:
    """Compare logits with transformers'.

    Args:
        folder: the model as it was given, whose tensors `huggingface_names` has checked.
        config: what its config.json says.
        tokenizer: the folder's, for the text of the probe.

    Returns:
        The configuration, which says of a foreign one how documents are read; and what was found.

    Raises:
        UserError: logits differ by more than rounding, or nothing is known of a foreign family that is too large.
    """
    if (parameters := count_parameters(config)) > MAX_PARAMETERS:
        return _unproved(folder, config, parameters)
    probe = make_probe(folder, config, tokenizer)
    expected = their_logits(folder, probe)
    if not isinstance(config, ForeignConfig):
        return config, _judged(folder, _compared(load_decoder(folder), probe, expected), "packed", None)
    packed, alone = replace(config, documents="packed"), replace(config, documents="alone")
    gc.collect()  # some modules lie in cycles (Mamba's), and no two models may be in memory
    found = _packed(folder, packed, probe, expected)
    if isinstance(found, Proof):
        return packed, found
    gc.collect()
    return alone, _judged(folder, _compared(load_foreign(folder, alone), probe, expected), "alone", found)


def _packed(folder: Path, config: ForeignConfig, probe: list[Tensor], expected: list[Tensor]) -> Proof | str:
    """What came of reading documents packed, or why they cannot be; the model is let go before another is loaded."""
    try:
        model = load_foreign(folder, config)
        model.watched_forward(max(probe, key=len)[None])
        found = _compared(model, probe, expected)
    except NotPackable as error:
        return str(error)
    except Exception as error:  # a module that was not made for this may do anything
        said = excerpt(" ".join(str(error).split()), 120)
        return f"its module does not run with our attention ({type(error).__name__}: {said})"
    if _is_rounding(found):
        return found
    return f"documents packed in a row differ from each alone by {found.difference:.1g} (logits to {found.scale:.1f})"


def _unproved(folder: Path, config: ModelConfig, parameters: int) -> tuple[ModelConfig, Proof]:
    reason = f"{parameters:,} parameters are more than the {MAX_PARAMETERS:,} that are held twice in float32 to compare"
    if isinstance(config, ForeignConfig):
        if config.model_type not in PACKED:
            raise UserError(
                f"{folder}: models of the family {config.model_type} run as transformers' module, and whether attention "
                f"keeps their documents apart is found by comparing: {reason}"
            )
        config = replace(config, documents="packed")
    return config, Proof(reason=reason)


def _is_rounding(found: Proof) -> bool:
    """Whether that is all (numbers that are none are not)."""
    return found.difference <= TOLERANCE * found.scale and found.typical <= TYPICAL * found.scale


def _judged(folder: Path, found: Proof, documents: Documents, reason: str | None) -> Proof:
    if not _is_rounding(found):
        raise UserError(
            f"{folder}: the logits differ from transformers' by {found.difference:.1e} (in half of the tokens by "
            f"{found.typical:.1e}), where rounding explains {TOLERANCE * found.scale:.0e} ({TYPICAL * found.scale:.0e}); the "
            f"largest is {found.scale:.1f}. The model is read wrongly here, and not imported: please report its config.json"
        )
    return replace(found, documents=documents, reason=reason)


# --- the probe ------------------------------------------------------------------------------------------------


def make_probe(folder: Path, config: ModelConfig, tokenizer: Tokenizer) -> list[Tensor]:
    """Documents to compare: their ids, equal each time."""
    generator = torch.Generator().manual_seed(0)
    text = [id for id in tokenizer.encode(TEXT, add_special_tokens=False).ids if id < config.vocabulary_size]
    window = read_raw_config(folder).get("sliding_window")
    longest = max(LONG, window + BEHIND) if isinstance(window, int) and window + BEHIND <= MAX_EDGE else LONG
    lengths = (37, 1, min(64, config.max_positions), min(longest, config.max_positions))
    drawn = [torch.randint(config.vocabulary_size, (length,), generator=generator) for length in lengths]
    written = torch.tensor(text[: min(96, config.max_positions)], dtype=torch.int64)
    return [document for document in (written, *drawn) if 0 < len(document) <= config.max_positions]


def packed_rows(probe: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The documents in two rows, the longest in the second; both end in padding."""
    numbered = sorted(enumerate(probe), key=lambda each: len(each[1]))
    rows = [numbered[:-1], numbered[-1:]]
    width = 3 + max(sum(len(document) for _, document in row) for row in rows)
    tokens_BT, documents_BT = torch.zeros(2, width, dtype=torch.int64), torch.full((2, width), -1)
    for row, placed in enumerate(rows):
        start = 0
        for number, document in placed:
            tokens_BT[row, start : start + len(document)] = document
            documents_BT[row, start : start + len(document)] = number
            start += len(document)
    return tokens_BT, documents_BT


@torch.no_grad()
def their_logits(folder: Path, probe: list[Tensor]) -> list[Tensor]:
    """Transformers' logits (TV) of each document alone, in its plainest attention.

    Raises:
        UserError: transformers can't load the model.
    """
    from transformers import AutoModelForCausalLM  # start-up: a second
    from transformers.utils import logging

    quieten_libraries()
    logging.disable_progress_bar()
    how: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", **how
        ).eval()
    except Exception as error:  # of many kinds
        raise UserError(
            f"{folder}: transformers cannot load it ({excerpt(' '.join(str(error).split()))}), so that its logits cannot be compared"
        ) from error
    return [model(input_ids=document[None], use_cache=False).logits[0] for document in probe]


@torch.no_grad()
def _compared(model: CausalModel, probe: list[Tensor], expected: list[Tensor]) -> Proof:
    """How our logits of packed rows differ from transformers' of documents."""
    tokens_BT, documents_BT = packed_rows(probe)
    hidden_BTD, scale, by_token = model(tokens_BT, None, documents_BT), 0.0, []
    for number, theirs_TV in enumerate(expected):  # one document's logits at a time
        ours_TV = hidden_BTD[documents_BT == number] @ model.output_weight().T
        if model.soft_cap is not None:
            ours_TV = model.soft_cap * torch.tanh(ours_TV / model.soft_cap)
        by_token.append((ours_TV - theirs_TV).abs().amax(dim=1))
        scale = max(scale, float(theirs_TV.abs().max()))
    differences_N = torch.cat(by_token).nan_to_num(torch.inf).sort().values
    documents = model.config.documents if isinstance(model, ForeignModel) else None
    return Proof(
        tokens=len(differences_N),
        difference=_short(differences_N[-1 - LEFT_OUT]),
        typical=_short(differences_N[len(differences_N) // 2]),
        largest=_short(differences_N[-1]),
        scale=round(scale, 3),
        documents=documents or "packed",
    )


def _short(value: Tensor) -> float:
    return float(f"{float(value):.3g}")
