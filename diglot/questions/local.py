"""A model of this run in place of a server: the same questions, journal and answers, drawn in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from diglot.answers.draw import Sampler
from diglot.base.artifact import Artifact, fingerprint
from diglot.base.errors import UserError
from diglot.endpoint.client import Completion, Journal, Request
from diglot.evaluate.language_model import LanguageModel

BATCH = 8  # answers in memory at a time
TOP_P = 1.0  # FastChat's llm_judge sets a temperature alone


class LocalModel:
    """Answers as `endpoint.Client` does; what is too long for the model is not answered."""

    def __init__(self, artifact: Artifact, max_tokens: int, seed: str) -> None:
        """Load a model.

        Args:
            artifact: the model.
            max_tokens: of an answer at most.
            seed: of the draws; each answer has random numbers of its own.

        Raises:
            UserError: it cannot be loaded, has no chat template, or has no room for a question.
        """
        self.model, self._of, self._seed = LanguageModel.load(artifact.path), artifact.content, seed
        self._max_tokens, self.room = max_tokens, self.model.max_length - max_tokens
        _ = self.model.chat  # says so where there is no chat template
        if self.room < 1:
            raise UserError(
                f"max_tokens: {max_tokens} leaves no room for a question: {artifact.stage} can attend to "
                f"{self.model.max_length} tokens; lower it"
            )

    def key(self, request: Request) -> str:
        """What an answer is called in the journal."""
        return fingerprint([self._of, self._seed, request.messages, request.options])

    def ask_all(self, requests: Iterable[Request], journal: Journal) -> Iterator[Completion]:
        """Answer all that is not in the journal yet, those of one temperature together."""
        by_temperature: dict[float, list[tuple[str, list[int]]]] = {}
        for request in requests:
            ids, _ = self.model.encode_chat(request.messages, add_generation_prompt=True)
            if len(ids) <= self.room:
                by_temperature.setdefault(request.options["temperature"], []).append((self.key(request), ids))
        for temperature, asked in by_temperature.items():
            sampler = Sampler(self.model, temperature, TOP_P, self._max_tokens)
            for start in range(0, len(asked), BATCH):
                # After a kill the batches are the same, so that an answer does not hang on which ones were there.
                batch = asked[start : start + BATCH]
                if all(key in journal for key, _ in batch):
                    continue
                keys, contexts = [key for key, _ in batch], [ids for _, ids in batch]
                for (key, ids), drawn in zip(batch, sampler.draw(contexts, list(range(len(batch))), keys), strict=True):
                    completion = Completion(drawn.text, len(ids), drawn.tokens, drawn.finish_reason)
                    if key not in journal:
                        journal.add(key, completion)
                    yield completion
