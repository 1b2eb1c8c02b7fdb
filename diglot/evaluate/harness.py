"""lm-evaluation-harness as the engine of the tasks: our model as its `LM`, our item files as its `Task`s.

The harness runs the requests of all tasks together and aggregates the metrics; so its own tasks and ours go the same
way, and its scores for a model are the scores that everyone else gets. What we add travels with the responses, which
the harness passes through untouched: token counts (it has no per-token normalisation) and the exact token ids that
the model saw.

Context and continuation are encoded as the harness does for causal models: `whole = encode(context + continuation)`,
`continuation = whole[len(encode(context)):]`. A choice's first token may therefore hold the space before it.

Importing this module takes seconds (it imports lm_eval): do so inside functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.task import Task as HarnessTask
from lm_eval.config.task import TaskConfig
from lm_eval.filters import build_filter_ensemble
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from diglot.base.errors import UserError
from diglot.evaluate.items import ChatPrompt, Item, separator
from diglot.evaluate.language_model import Generation, LanguageModel, Message, Report, Request, Score
from diglot.evaluate.metrics import CORPUS_METRICS, SCORINGS, corpus_score, item_score, mean, text_metric
from diglot.recipe.evaluate import Task
from diglot.tokenizer.thoughts import answer_of


class LogLikelihood(tuple):
    """The harness's pair (log-likelihood, greedy), with the whole score beside it."""

    score: Score

    @classmethod
    def of(cls, score: Score) -> LogLikelihood:
        """The harness's form of a score."""
        pair = cls((score.log_likelihood, score.greedy))
        pair.score = score
        return pair


class GeneratedText(str):
    """The harness's string, with the whole generation (and so the context's token ids) beside it."""

    generation: Generation

    @classmethod
    def of(cls, generation: Generation) -> GeneratedText:
        """The harness's form of a generation."""
        text = cls(generation.text)
        text.generation = generation
        return text


class Adapter(TemplateLM):
    """A `LanguageModel` as the harness's `LM`."""

    def __init__(self, model: LanguageModel, report: Callable[[str], Report]):
        super().__init__()
        self.language_model = model
        self.report = report

    @property
    def eot_token_id(self) -> int:
        """The end-of-text token, which the harness asks for where a task has no stop string."""
        return self.language_model.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """What an empty context consists of: as the harness has it, the first of the tokenizer's own special tokens.

        It need not be what stands before a document in training: of SmolLM2 it is `<|im_start|>`, and a sentence
        scores 19 nats apart after the one and the other.
        """
        model = self.language_model
        if model.document_start is not None:
            return model.prefix_id
        named = (model.tokenizer.bos_token_id, model.tokenizer.eos_token_id)
        return next((token for token in named if token is not None), model.prefix_id)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids; with what the tokenizer adds by itself unless told otherwise."""
        return self.language_model.encode(string, add_special_tokens is None or add_special_tokens)

    @property
    def tokenizer_name(self) -> str:
        """By which the harness would tell cached requests apart; none are cached."""
        return str(self.language_model.folder)

    def apply_chat_template(self, chat_history: list[Message], add_generation_prompt: bool = True) -> ChatPrompt:
        """A conversation up to the assistant's next words; without a generation prompt its last message is begun."""
        begun = "" if add_generation_prompt else chat_history[-1]["content"]
        messages = chat_history if add_generation_prompt else chat_history[:-1]
        return ChatPrompt.render(self.language_model, messages, begun)

    def request(self, context: str, continuation: str) -> Request:
        """The token ids of a context and its continuation."""
        if isinstance(context, ChatPrompt):
            return self.language_model.encode_begun_answer(context.messages, context.begun, continuation)
        if not context:
            return Request([self.prefix_token_id], self.tok_encode(continuation, add_special_tokens=False))
        return Request(*self._encode_pair(context, continuation))

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[LogLikelihood]:
        """Log-likelihoods of continuations."""
        pairs = [self.request(*instance.args) for instance in requests]
        return [LogLikelihood.of(s) for s in self.language_model.score(pairs, self.report("continuations"))]

    def _loglikelihood_tokens(self, requests: list, **_: Any) -> list[LogLikelihood]:
        pairs = [Request(context, continuation) for _, context, continuation in requests]
        return [LogLikelihood.of(s) for s in self.language_model.score(pairs, self.report("continuations"))]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihoods of whole texts, in the harness's windows."""
        windows, owners = [], []
        for number, instance in enumerate(requests):
            rolling = get_rolling_token_windows(
                self.tok_encode(instance.args[0], add_special_tokens=False),
                self.prefix_token_id,
                self.language_model.max_length,
                context_len=1,
            )
            for context, continuation in map(make_disjoint_window, rolling):
                windows.append(Request(context, continuation))
                owners.append(number)
        sums = [0.0] * len(requests)
        for owner, score in zip(owners, self.language_model.score(windows, self.report("texts"))):
            sums[owner] += score.log_likelihood
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[GeneratedText]:
        """Greedy continuations, by groups of equal settings.

        Raises:
            UserError: a task asks for sampling.
        """
        groups: dict[tuple, list[int]] = {}
        for number, instance in enumerate(requests):
            settings = instance.args[1]
            if settings.get("do_sample") and settings.get("temperature", 1) > 0:
                raise UserError(f"task {instance.task_name}: it samples its answers; only greedy tasks are run")
            until = settings.get("until") or []
            stops = tuple([until] if isinstance(until, str) else until)
            groups.setdefault((settings.get("max_gen_toks", 256), stops), []).append(number)
        # Requests come from all tasks together; those that stop alike are generated in one go, and put back in order.
        texts: dict[int, GeneratedText] = {}
        for (max_new_tokens, stops), numbers in groups.items():
            contexts = [self.request_context(requests[number].args[0]) for number in numbers]
            report = self.report("generations")
            for number, generation in zip(
                numbers, self.language_model.generate(contexts, max_new_tokens, stops, report)
            ):
                texts[number] = GeneratedText.of(generation)
        return [texts[number] for number in range(len(requests))]

    def request_context(self, context: str) -> list[int]:
        """The token ids of a context alone."""
        if isinstance(context, ChatPrompt):
            if context.begun:
                request = self.language_model.encode_answer(context.messages, context.begun)
                return request.context + request.continuation
            return self.language_model.encode_chat(context.messages, add_generation_prompt=True)[0]
        return self.tok_encode(context) or [self.prefix_token_id]


class ItemTask(HarnessTask):
    """A task of ours: item files with choices or references, contexts ready made."""

    VERSION = 1

    def __init__(self, name: str, task: Task, items: list[Item], contexts: list[str]):
        # As the harness's own ConfigurableTask does, instead of super().__init__(), which would download data.
        self.items, self.contexts, self.settings = items[: len(contexts)], contexts, task
        self.OUTPUT_TYPE = "multiple_choice" if task.kind == "choice" else "generate_until"
        generation = {"generation_kwargs": self.generation_settings()} if task.kind == "generation" else {}
        self._config = TaskConfig(task=name, num_fewshot=task.shots, output_type=self.OUTPUT_TYPE, **generation)
        self._filters = [build_filter_ensemble("none", [["take_first", None]])]

    def generation_settings(self) -> dict[str, Any]:
        """Greedy; a plain answer ends with its line, a chat's with the model's end token."""
        stops = [] if self.settings.chat else ["\n"]
        return {"until": stops, "max_gen_toks": self.settings.max_new_tokens, "do_sample": False}

    def has_training_docs(self) -> bool:
        """False: shots are in the contexts already, so the harness needs nowhere to draw them from."""
        return False

    def has_validation_docs(self) -> bool:
        """False, likewise."""
        return False

    def has_test_docs(self) -> bool:
        """True: the items are what is measured."""
        return True

    def test_docs(self) -> list[Item]:
        """The items that have a context; with a limit, the first ones."""
        return self.items

    def doc_to_text(self, doc: Item) -> str:
        """The rendered prompt, without shots."""
        return doc["prompt"]

    def doc_to_target(self, doc: Item) -> Any:
        """The number of the right choice, or the reference."""
        return doc["reference"] if "reference" in doc else doc["answer"]

    def build_all_requests(self, **_: Any) -> None:
        """One request a choice, or one a generation."""
        self._instances = []
        for number, (item, context) in enumerate(zip(self.items, self.contexts)):
            self._instances += self.construct_requests(item, context, number=number)

    def construct_requests(self, doc: Item, ctx: str, *, number: int, **_: Any) -> list[Instance]:
        """The requests of one item."""
        metadata = (self._config.task, number, 1)
        if self.settings.kind == "choice":
            continuations = [separator(ctx, choice) + choice for choice in doc["choices"]]
            return [
                Instance("loglikelihood", doc, (ctx, continuation), index, metadata)
                for index, continuation in enumerate(continuations)
            ]
        return [Instance("generate_until", doc, (ctx, self.generation_settings()), 0, metadata)]

    def process_results(self, doc: Item, results: list) -> dict[str, Any]:
        """One item's metrics: 0 or 1, or the pair (generation, reference) for corpus metrics."""
        if self.settings.kind == "generation":
            # Thoughts of a chat model are none of its answer.
            text = answer_of(str(results[0])) if self.settings.chat else str(results[0])
            pair = (text.strip(), doc["reference"].strip())
            references = doc.get("references") or [doc["reference"]]
            language = self.settings.language
            means = {name: item_score(name, pair[0], references, language) for name in self.mean_metrics}
            return {**means, "chrf": pair, "bleu": pair}
        # Sums favour short answers; per character is the harness's acc_norm, per token depends on the tokenizer.
        sums = np.array([result.score.log_likelihood for result in results])
        tokens = np.array([result.score.num_tokens for result in results])
        # A choice's own space is none of its characters: others get theirs from us.
        characters = np.array([len(choice.strip()) or 1 for choice in doc["choices"]])
        sizes = np.array([len(choice.strip().encode()) or 1 for choice in doc["choices"]])
        guesses = {"acc": sums, "acc_norm": sums / characters, "acc_bytes": sums / sizes, "acc_token": sums / tokens}
        return {name: float(np.argmax(values) == doc["answer"]) for name, values in guesses.items()}

    @property
    def mean_metrics(self) -> list[str]:
        """Metrics of written answers that are means over items; others look at all answers together."""
        return list(dict.fromkeys(["exact_match", *({self.settings.metric} - {*CORPUS_METRICS})]))

    def aggregation(self) -> dict[str, Callable]:
        """How item metrics become the task's."""
        if self.settings.kind == "choice":
            return dict.fromkeys(SCORINGS.values(), mean)

        def corpus(name: Any) -> Callable[[list], float]:
            metric = text_metric(name, self.settings.language)
            return lambda pairs: corpus_score(metric, *zip(*pairs))

        return {**dict.fromkeys(self.mean_metrics, mean), **{name: corpus(name) for name in CORPUS_METRICS}}

    def higher_is_better(self) -> dict[str, bool]:
        """True of every metric; the harness only shows an arrow for it."""
        return dict.fromkeys(self.aggregation(), True)
