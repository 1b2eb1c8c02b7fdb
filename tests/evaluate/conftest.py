"""A random model and a model that knows its sentences by heart, on disk."""

from pathlib import Path

import pytest
import tiny_model
from transformers.utils import logging

from diglot.evaluate.language_model import LanguageModel

logging.disable_progress_bar()


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random")
    tiny_model.save_tokenizer(folder)
    tiny_model.save_model(folder)
    return folder


@pytest.fixture(scope="session")
def random_model(random_folder: Path) -> LanguageModel:
    return LanguageModel.load(random_folder, batch_size=8)


@pytest.fixture(scope="session")
def learnt_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Knows the sentences of `tiny_model`, plain (with a line end after them) and as answers in a chat."""
    folder = tmp_path_factory.mktemp("learnt")
    tiny_model.save_tokenizer(folder)
    tiny_model.save_model(folder)
    encoder = LanguageModel.load(folder)
    plain = [encoder.encode(text + "\n", True) for text in tiny_model.ENGLISH + tiny_model.ARABIC]
    chats = [encoder.encode_chat(tiny_model.conversation(text))[0] for text in tiny_model.ENGLISH]
    tiny_model.save_model(folder, plain + chats)
    return folder


@pytest.fixture(scope="session")
def learnt_model(learnt_folder: Path) -> LanguageModel:
    return LanguageModel.load(learnt_folder, batch_size=8)
