"""A small model that answers in either of two languages, and how the stages are run on it."""

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_model
from answering import QUESTIONS, run_stage
from chat_server import Server
from transformers.utils import logging

from diglot.base.artifact import Artifact
from diglot.evaluate.language_model import LanguageModel

logging.disable_progress_bar()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers Arabic questions now in Arabic and now in English, and English ones in English."""
    folder = tmp_path_factory.mktemp("bilingual")
    tiny_model.save_tokenizer(folder, 500)
    tiny_model.save_model(folder)
    encoder = LanguageModel.load(folder)
    said = [tiny_model.conversation(text) for text in tiny_model.ENGLISH[:4]]
    for question, place in QUESTIONS.items():
        for answer in (tiny_model.ARABIC[place], tiny_model.ENGLISH[3 * place]):
            said.append([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])
    tiny_model.save_model(folder, [encoder.encode_chat(messages)[0] for messages in said], steps=120, length=128)
    return folder


@pytest.fixture(scope="session")
def model(model_folder: Path) -> LanguageModel:
    return LanguageModel.load(model_folder)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A file of the Arabic questions."""
    file = tmp_path / "prompts.jsonl"
    rows = [{"prompt": question} for question in QUESTIONS]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return file


@pytest.fixture
def stage(tmp_path: Path) -> Callable[..., Artifact]:
    """Runs a stage of this room in the test's folder."""
    return functools.partial(run_stage, tmp_path)


VERDICTS = {"Q1": "no verdict", "Q2": "refuse", "Q3": "forged", "Q4": "cut off"}


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that need none of their own: starting one takes as long as a test."""
    rules = [{"word": word, "times": 99, "do": do} for word, do in VERDICTS.items()]
    one = Server(tmp_path_factory.mktemp("server"), rules=rules)
    yield one
    one.stop()


class Asked:
    """A server, with what it was asked since the test began."""

    def __init__(self, server: Server):
        self.url, self._server, self._before = server.url, server, len(server.requests)

    @property
    def requests(self) -> list[dict[str, Any]]:
        return self._server.requests[self._before :]


@pytest.fixture
def server(started: Server) -> Asked:
    return Asked(started)
