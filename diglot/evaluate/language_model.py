"""A model as a judge of text: exact log-likelihoods of token sequences, and greedy generation.

The model is loaded the way every other user of it would (`AutoModelForCausalLM`), so that a score also proves the
export; the tokenizer is tokenizer.json as it is, which `encode` trains on. Three rules keep the numbers exact and cheap:

* Sequences are scored longest first, padded on the right. A causal model never looks right, so padding changes
  nothing and no mask is needed.
* The output layer runs only where a token is asked for (`logits_to_keep`): of a choice's 40 tokens, often one.
* A batch never holds more logits than `MAX_LOGITS_BYTES`, whatever the vocabulary.

    model = LanguageModel.load(folder, batch_size=64)
    model.score([Request(context=[1, 17], continuation=[5, 9])])   ->  [Score(log_likelihood=-3.2, …)]

Shapes: B sequences in the batch, T tokens, P positions whose logits are kept, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.utils import logging as transformers_logging

from diglot.base.errors import UserError
from diglot.base.format import excerpt
from diglot.base.notice import quieten_libraries
from diglot.model.families import read_raw_config
from diglot.tokenizer.chat import Chat, NoChatFormat, load_chat
from diglot.tokenizer.description import MODEL_FILES, ids_in, read_json
from diglot.tokenizer.export import as_transformers
from diglot.tokenizer.folder import load_tokenizer
from diglot.tokenizer.framing import find_framing
from diglot.tokenizer.special import ENDS

MAX_LOGITS_BYTES = 256 * 2**20
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


@dataclass(frozen=True)
class _Batch:
    rows: list[int]
    first: int  # the first position whose logits are kept
    last: int  # one past the last


class LanguageModel:
    """A causal language model with its tokenizer, for scoring and greedy generation.

    Attributes:
        max_length: tokens that the model can attend to (`max_position_embeddings`).
    """

    def __init__(self, model: Any, tokenizer: Any, folder: Path, batch_size: int, document_start: str | None = None):
        self.document_start = document_start
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
        _refuse_code(folder)
        quieten_libraries()
        transformers_logging.disable_progress_bar()
        gpu = torch.cuda.is_available()
        try:
            model, loading = AutoModelForCausalLM.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                dtype="auto" if gpu else torch.float32,
                output_loading_info=True,
            )
        except Exception as error:  # transformers raises many kinds for a bad folder
            reason = excerpt(" ".join(str(error).split())) or type(error).__name__
            raise UserError(
                f"{folder}: not a model that transformers can load ({reason}). "
                "A model folder holds config.json, model.safetensors and tokenizer.json."
            ) from error
        if absent := sorted([*loading["missing_keys"], *map(str, loading["mismatched_keys"])]):
            # transformers would only warn, and fill them with random numbers.
            raise UserError(f"{folder}: weights are missing or of another shape: {', '.join(absent[:5])}")
        tokenizer, rows = as_transformers(folder), model.get_input_embeddings().weight.shape[0]
        if len(tokenizer) > rows:
            raise UserError(
                f"{folder}: the tokenizer has {len(tokenizer)} tokens, but the model only {rows} embedding rows; "
                "the tokenizer does not belong to this model"
            )
        return cls(model.eval().to("cuda" if gpu else "cpu"), tokenizer, folder, batch_size, document_start)

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

    def windows(self, ids: list[int]) -> list[Request]:
        """Cut a document as training does: BOS first, then windows that predict each token exactly once.

        A later window starts from the last token of the one before and does not look further back.
        """
        whole = [self.prefix_id, *ids]
        starts = range(0, len(whole) - 1, self.max_length)
        return [Request([whole[i]], whole[i + 1 : i + 1 + self.max_length]) for i in starts]

    # --- scoring ------------------------------------------------------------------------------------------------

    def score(self, requests: Sequence[Request], report: Report = _silent) -> list[Score]:
        """Log-likelihoods of continuations, in the order given.

        A context is cut on the left where context and continuation are longer than the model's length + 1 (the
        last token is only predicted).

        Raises:
            UserError: a continuation is longer than the model's length.
        """
        contexts = [self._fit(request) for request in requests]
        lengths = [len(context) + len(r.continuation) - 1 for context, r in zip(contexts, requests)]
        order = sorted(range(len(requests)), key=lambda row: (-lengths[row], row))
        scores: list[Score | None] = [None] * len(requests)
        done = 0
        for batch in self._batches(order, contexts, lengths):
            for row, score in zip(batch.rows, self._score_batch(batch, contexts, requests)):
                scores[row] = score
            done += len(batch.rows)
            report(done, len(requests))
        return [score for score in scores if score is not None]

    def _fit(self, request: Request) -> list[int]:
        room = self.max_length + 1 - len(request.continuation)
        if room < 1:
            text = self.tokenizer.decode(request.continuation)
            raise UserError(
                f"{len(request.continuation)} tokens to be scored, but {self.folder} can attend to "
                f"{self.max_length}: {text[:80]!r}…"
            )
        return request.context[-room:]

    def _batches(self, order: list[int], contexts: list[list[int]], lengths: list[int]) -> Iterator[_Batch]:
        """Neighbours in length, up to the batch size and the memory for their logits."""
        rows: list[int] = []
        first = last = 0
        for row in order:
            start, end = len(contexts[row]) - 1, lengths[row]
            new_first, new_last = (min(first, start), max(last, end)) if rows else (start, end)
            logits_bytes = (len(rows) + 1) * (new_last - new_first) * self.vocabulary_size * 4
            if rows and (len(rows) == self.batch_size or logits_bytes > MAX_LOGITS_BYTES):
                yield _Batch(rows, first, last)
                rows, new_first, new_last = [], start, end
            rows, first, last = [*rows, row], new_first, new_last
        if rows:
            yield _Batch(rows, first, last)

    @torch.inference_mode()
    def _score_batch(self, batch: _Batch, contexts: list[list[int]], requests: Sequence[Request]) -> Iterator[Score]:
        sequences = [(contexts[row] + requests[row].continuation)[:-1] for row in batch.rows]
        tokens_BT = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.long)
        for index, sequence in enumerate(sequences):
            tokens_BT[index, : len(sequence)] = torch.tensor(sequence)
        logits_BPV = self.model(
            input_ids=tokens_BT.to(self.device),
            logits_to_keep=torch.arange(batch.first, batch.last, device=self.device),
            use_cache=False,
        ).logits
        for index, row in enumerate(batch.rows):
            continuation = requests[row].continuation
            start = len(contexts[row]) - 1 - batch.first
            logits_PV = logits_BPV[index, start : start + len(continuation)].float()
            targets_P = torch.tensor(continuation, dtype=torch.long, device=self.device)
            target_logits_P = logits_PV.gather(1, targets_P[:, None])[:, 0]
            yield Score(
                log_likelihood=float((target_logits_P - logits_PV.logsumexp(1)).double().sum()),
                greedy=bool((logits_PV.argmax(1) == targets_P).all()),
                num_tokens=len(continuation),
                context=contexts[row],
                cut=len(contexts[row]) < len(requests[row].context),
            )

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
        order = sorted(range(len(contexts)), key=lambda row: (-len(contexts[row][-room:]), row))
        generations: list[Generation | None] = [None] * len(contexts)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            cut = [contexts[row][-room:] for row in rows]
            for row, text, context in zip(rows, self._generate_batch(cut, max_new_tokens, stops), cut):
                generations[row] = Generation(text, context, cut=len(context) < len(contexts[row]))
            report(start + len(rows), len(order))
        return [generation for generation in generations if generation is not None]

    @torch.inference_mode()
    def _generate_batch(self, contexts: list[list[int]], max_new_tokens: int, stops: Sequence[str]) -> list[str]:
        width = max(map(len, contexts))
        pad = self.model.generation_config.pad_token_id
        tokens_BT = torch.tensor([[pad] * (width - len(ids)) + ids for ids in contexts], device=self.device)
        mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in contexts])
        criteria = [_StopStrings(self.tokenizer, stops, width)] if stops else []
        output_BT = self.model.generate(
            input_ids=tokens_BT,
            attention_mask=mask_BT.to(self.device),
            max_new_tokens=max_new_tokens,
            stopping_criteria=StoppingCriteriaList(criteria),
        )
        texts = self.tokenizer.batch_decode(output_BT[:, width:], skip_special_tokens=True)
        return [cut_at(text, stops) for text in texts]


def cut_at(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop strings."""
    return text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))]


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
