"""A model as a judge of text: exact log-likelihoods of token sequences, and greedy generation.

The model is loaded the way every other user of it would (`AutoModelForCausalLM`), so that a score also proves the
export; the tokenizer is tokenizer.json as it is, which `encode` trains on. Three rules keep the numbers exact and cheap:

* What sequences have in common is computed once, and the output layer runs only where a token is asked for
  (`scoring.py`).
* A batch is bounded in sequences, in tokens, and in bytes of logits, whatever the vocabulary.
* Rows of generation that have ended make room for others (`generation.py`).

    model = LanguageModel.load(folder, batch_size=64)
    model.score([Request(context=[1, 17], continuation=[5, 9])])   ->  [Score(log_likelihood=-3.2, …)]

Shapes: B sequences in the batch, T tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.utils import logging as transformers_logging

from diglot.base.errors import UserError
from diglot.base.format import excerpt
from diglot.base.notice import quieten_libraries
from diglot.evaluate.generation import Rows, continue_rows
from diglot.evaluate.scoring import batches, rows_of, score_rows, sees_everything, takes_rows
from diglot.model.families import read_raw_config
from diglot.tokenizer.chat import Chat, NoChatFormat, load_chat
from diglot.tokenizer.description import MODEL_FILES, ids_in, read_json
from diglot.tokenizer.export import as_transformers
from diglot.tokenizer.folder import load_tokenizer
from diglot.tokenizer.framing import find_framing
from diglot.tokenizer.special import ENDS

BATCH_TOKENS = 4096
Message = dict[str, str]
Report = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Request:
    """A continuation to be scored after a context: token ids, the context at least one."""

    context: list[int]
    continuation: list[int]


@dataclass(frozen=True)
class Score:
    """How likely a continuation is.

    Attributes:
        log_likelihood: sum of the log-probabilities of the continuation's tokens, in nats.
        greedy: whether each of its tokens was the most likely one.
        num_tokens: tokens of the continuation.
        context: the token ids that the model saw before it.
        cut: whether the context was longer and lost its beginning.
    """

    log_likelihood: float
    greedy: bool
    num_tokens: int
    context: list[int]
    cut: bool = False


@dataclass(frozen=True)
class Generation:
    """A greedy continuation.

    Attributes:
        text: up to the first stop string.
        context: the token ids that the model saw before it.
        cut: whether the context was longer and lost its beginning.
    """

    text: str
    context: list[int]
    cut: bool = False


def seen(response: Any) -> Any:
    """The score or the generation behind a response; None for a bare number of the harness."""
    return getattr(response, "score", None) or getattr(response, "generation", None)


class LanguageModel:
    """A causal language model with its tokenizer, for scoring and greedy generation.

    Attributes:
        max_length: tokens that the model can attend to (`max_position_embeddings`).
    """

    def __init__(self, model: Any, tokenizer: Any, folder: Path, batch_size: int, document_start: str | None = None):
        self.document_start = document_start
        self.batch_tokens = BATCH_TOKENS  # scored at a time; `evaluate` has a setting for it
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self.folder = folder
        self.max_length: int = getattr(model.config, "max_position_embeddings", None) or 2048
        self.vocabulary_size: int = model.get_input_embeddings().weight.shape[0]
        self.device = model.device
        self.end_ids = _end_ids(model, tokenizer, folder)
        # An imported model's own settings (sampling, repetition penalty, …) would leak into greedy generation.
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(self.end_ids, default=0)
        model.generation_config = GenerationConfig(
            do_sample=False, pad_token_id=pad, eos_token_id=sorted(self.end_ids) or None
        )

    @classmethod
    def load(cls, folder: Path, batch_size: int = 1, document_start: str | None = None) -> LanguageModel:
        """Load a model folder: float32 on a CPU, as stored on a GPU.

        Args:
            folder: of the model.
            batch_size: sequences in memory at a time.
            document_start: the token before a document; found where it is None (see `framing.py`).

        Raises:
            UserError: not a model folder, weights are missing, or the tokenizer has more tokens than the embedding
                has rows.
        """
        read_raw_config(folder)
        model = load_pretrained(AutoModelForCausalLM, folder, "a model")
        tokenizer, rows = as_transformers(folder), model.get_input_embeddings().weight.shape[0]
        if len(tokenizer) > rows:
            raise UserError(
                f"{folder}: the tokenizer has {len(tokenizer)} tokens, but the model only {rows} embedding rows; "
                "the tokenizer does not belong to this model"
            )
        return cls(model, tokenizer, folder, batch_size, document_start)

    # --- text to token ids --------------------------------------------------------------------------------------

    @functools.cached_property
    def prefix_id(self) -> int:
        """What an otherwise empty context consists of: what stands before a document in training."""
        framing = find_framing(self.folder, load_tokenizer(self.folder), start=self.document_start)
        return self.tokenizer.convert_tokens_to_ids(framing.start)

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        """Token ids of a text; what looks like a special token in the text stays text.

        Args:
            text: any text.
            add_special_tokens: add what the tokenizer adds by itself (BOS, for Diglot's own tokenizers).
        """
        return self.tokenizer(text, add_special_tokens=add_special_tokens, split_special_tokens=True)["input_ids"]

    @functools.cached_property
    def chat(self) -> Chat:
        """The chat format of the model's tokenizer.

        Raises:
            UserError: the model has no chat template, or one that is no chat format known here.
        """
        try:
            return load_chat(self.folder)
        except NoChatFormat as error:
            raise UserError(
                f"{error} Until the model is trained on instructions, evaluate it with `chat: false`."
            ) from error

    def encode_chat(self, messages: list[Message], add_generation_prompt: bool = False) -> tuple[list[int], list[int]]:
        """Token ids of a conversation, and 1 where the assistant speaks; see `Chat.encode`."""
        return self.chat.encode(messages, add_generation_prompt)

    def encode_answer(self, messages: list[Message], answer: str) -> Request:
        """An answer, without the token that ends it, after a conversation."""
        context, _ = self.encode_chat(messages, add_generation_prompt=True)
        ids, targets = self.encode_chat([*messages, {"role": "assistant", "content": answer}])
        end = max(position for position, target in enumerate(targets) if target)
        return Request(context, ids[len(context) : end])

    def encode_begun_answer(self, messages: list[Message], begun: str, answer: str) -> Request:
        """An answer that goes on after its first words, which belong to the context."""
        whole = self.encode_answer(messages, begun + answer)
        length = len(self.encode_answer(messages, begun).continuation) if begun else 0
        return Request(whole.context + whole.continuation[:length], whole.continuation[length:])

    def windows(self, ids: list[int]) -> list[Request]:
        """Cut a document as training does: BOS first, then windows that predict each token exactly once.

        A later window starts from the last token of the one before and does not look further back.
        """
        whole = [self.prefix_id, *ids]
        starts = range(0, len(whole) - 1, self.max_length)
        return [Request([whole[i]], whole[i + 1 : i + 1 + self.max_length]) for i in starts]

    # --- scoring ------------------------------------------------------------------------------------------------

    @functools.cached_property
    def follows_masks(self) -> bool:
        """Whether the model follows positions and masks that are given to it; tried once."""
        return takes_rows(self.model)

    def score(self, requests: Sequence[Request], report: Report = _silent) -> list[Score]:
        """Log-likelihoods of continuations, in the order given.

        A context is cut on the left where context and continuation are longer than the model's length + 1 (the
        last token is only predicted).

        Raises:
            UserError: a continuation is longer than the model's length.
        """
        contexts = [self._fit(request) for request in requests]
        sequences = [(context + r.continuation)[:-1] for context, r in zip(contexts, requests)]
        share = len(requests) > 1 and sees_everything(self.model.config) and self.follows_masks
        rows = rows_of(sequences, [len(context) - 1 for context in contexts], share)
        continuations = [request.continuation for request in requests]
        scores: dict[int, Score] = {}
        for batch in batches(rows, self.batch_size, self.batch_tokens, self.vocabulary_size):
            for number, (log_likelihood, greedy) in score_rows(self.model, batch, continuations).items():
                context, request = contexts[number], requests[number]
                cut = len(context) < len(request.context)
                scores[number] = Score(log_likelihood, greedy, len(request.continuation), context, cut)
            report(len(scores), len(requests))
        return [scores[number] for number in range(len(requests))]

    def _fit(self, request: Request) -> list[int]:
        room = self.max_length + 1 - len(request.continuation)
        if room < 1:
            text = self.tokenizer.decode(request.continuation)
            raise UserError(
                f"{len(request.continuation)} tokens to be scored, but {self.folder} can attend to "
                f"{self.max_length}: {text[:80]!r}…"
            )
        return request.context[-room:]

    # --- generation ---------------------------------------------------------------------------------------------

    def generate(
        self, contexts: Sequence[list[int]], max_new_tokens: int, stops: Sequence[str] = (), report: Report = _silent
    ) -> list[Generation]:
        """Greedy continuations, in the order given; they end before a stop string or at an end token.

        Contexts are cut on the left so that the new tokens fit into the model's length.

        Raises:
            UserError: `max_new_tokens` leaves no room for a context.
        """
        room = self.max_length - max_new_tokens
        if contexts and room < 1:
            raise UserError(
                f"max_new_tokens {max_new_tokens} leaves no room for a prompt: {self.folder} can attend to "
                f"{self.max_length} tokens"
            )
        cut = [context[-room:] for context in contexts]
        if self.follows_masks:
            written = self._generate_together(cut, max_new_tokens, stops, report)
        else:
            written = self._generate_in_batches(cut, max_new_tokens, stops, report)
        texts = [cut_at(self.tokenizer.decode(ids, skip_special_tokens=True), stops) for ids in written]
        return [
            Generation(text, context, len(context) < len(whole)) for text, context, whole in zip(texts, cut, contexts)
        ]

    def _generate_together(
        self, contexts: list[list[int]], max_new_tokens: int, stops: Sequence[str], report: Report
    ) -> list[list[int]]:
        # A token is at least a byte long, so a string that has just been finished lies within this many tokens.
        tail = max((len(stop.encode()) for stop in stops), default=0) + 1

        def ended(ids: list[int]) -> bool:
            if ids[-1] in self.end_ids:
                return True
            text = self.tokenizer.decode(ids[-tail:]) if stops else ""
            return any(stop in text for stop in stops)

        rows = Rows(self.model, self.model.generation_config.pad_token_id)
        written = continue_rows(rows, contexts, self.batch_size, max_new_tokens, ended, report)
        return [ids[:-1] if ids[-1] in self.end_ids else ids for ids in written]

    @torch.inference_mode()
    def _generate_in_batches(
        self, contexts: list[list[int]], max_new_tokens: int, stops: Sequence[str], report: Report
    ) -> list[list[int]]:
        """As transformers does, for families that have states or masks of their own."""
        order = sorted(range(len(contexts)), key=lambda row: (-len(contexts[row]), row))
        pad = self.model.generation_config.pad_token_id
        written: dict[int, list[int]] = {}
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            width = len(contexts[rows[0]])
            tokens = [[pad] * (width - len(contexts[row])) + contexts[row] for row in rows]
            mask = [[0] * (width - len(contexts[row])) + [1] * len(contexts[row]) for row in rows]
            criteria = [_StopStrings(self.tokenizer, stops, width)] if stops else []
            output_BT = self.model.generate(
                input_ids=torch.tensor(tokens, device=self.device),
                attention_mask=torch.tensor(mask, device=self.device),
                max_new_tokens=max_new_tokens,
                stopping_criteria=StoppingCriteriaList(criteria),
            )
            written |= dict(zip(rows, output_BT[:, width:].tolist()))
            report(len(written), len(order))
        return [written[row] for row in range(len(order))]


def cut_at(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop strings."""
    return text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))]


def load_pretrained(kind: Any, folder: Path, what: str) -> Any:
    """A model of a folder, whole and without code of its own: float32 on a CPU, as stored on a GPU.

    Args:
        kind: transformers' class for such models.
        folder: of the model.
        what: is wanted, in words.

    Raises:
        UserError: transformers cannot load it from safetensors, it brings code, or weights are missing.
    """
    _refuse_code(folder)
    quieten_libraries()
    transformers_logging.disable_progress_bar()
    gpu = torch.cuda.is_available()
    try:
        model, loading = kind.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="auto" if gpu else torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises many kinds for a bad folder
        reason = excerpt(" ".join(str(error).split())) or type(error).__name__
        raise UserError(
            f"{folder}: not {what} that transformers can load ({reason}). "
            "A model folder holds config.json, model.safetensors and tokenizer.json."
        ) from error
    if absent := sorted([*loading["missing_keys"], *map(str, loading["mismatched_keys"])]):
        # transformers would only warn, and fill them with random numbers.
        raise UserError(f"{folder}: weights are missing or of another shape, for {what}: {', '.join(absent[:5])}")
    return model.eval().to("cuda" if gpu else "cpu")


def _refuse_code(folder: Path) -> None:
    """Refuse a model that brings Python files of its own: without a word, transformers would run them or ask in the terminal.

    Raises:
        UserError: it does.
    """
    for name in ("config.json", "tokenizer_config.json"):
        if read_json(folder / name, optional=True).get("auto_map"):
            raise UserError(
                f"{folder / name}: asks for code that comes with the model (auto_map), which is never run here; if its "
                "architecture is one that transformers knows, take auto_map out of the file"
            )


def _end_ids(model: Any, tokenizer: Any, folder: Path) -> set[int]:
    """Tokens that end an answer: what tokenizer and model name, and those that end a message in chat formats."""
    named = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    ids |= {stop for file in MODEL_FILES for stop in ids_in(folder / file, "eos_token_id")}
    return {id for id in ids | set(map(tokenizer.get_vocab().get, ENDS)) if id is not None}


class _StopStrings(StoppingCriteria):
    """Ends a row once one of the strings appears in what was generated."""

    def __init__(self, tokenizer: Any, stops: Sequence[str], prompt_width: int):
        self.tokenizer, self.stops, self.prompt_width = tokenizer, stops, prompt_width
        # A token is at least a byte long, so a string that has just been finished lies within this many tokens.
        self.tail = max(len(stop.encode()) for stop in stops) + 1

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        start = max(self.prompt_width, input_ids.shape[1] - self.tail)
        texts = self.tokenizer.batch_decode(input_ids[:, start:])
        done = [any(stop in text for stop in self.stops) for text in texts]
        return torch.tensor(done, device=input_ids.device)
