"""Conversations in the terminal, with a real model folder and real processes."""

import io
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_model
from commands import diglot

from diglot.base.errors import UserError
from diglot.evaluate.language_model import LanguageModel
from diglot.serve.chat import Conversation, chat

ROOT = Path(__file__).resolve().parents[2]
QUESTION, ANSWER = (message["content"] for message in tiny_model.conversation(tiny_model.ENGLISH[0]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model that knows its answers by heart, also as the second turn of a conversation."""
    folder = tmp_path_factory.mktemp("model")
    tiny_model.save_tokenizer(folder)
    tiny_model.save_model(folder, length=96)
    encoder = LanguageModel.load(folder)
    turns = [tiny_model.conversation(text) for text in tiny_model.ENGLISH]
    texts = [encoder.encode_chat(turn)[0] for turn in turns]
    texts += [encoder.encode_chat([*first, *second])[0] for first, second in itertools.pairwise(turns)]
    arabic = [{"role": "user", "content": "Arabic?"}, {"role": "assistant", "content": "عربي 🙂"}]
    texts.append(encoder.encode_chat(arabic)[0])
    tiny_model.save_model(folder, texts, length=96, steps=200)
    return folder


@pytest.fixture(scope="module")
def model(folder) -> LanguageModel:
    return LanguageModel.load(folder)


def settings(**changes):
    return {"max_new_tokens": 30, "temperature": 0.0, "seed": 0, **changes}


def test_answers_stream_and_become_part_of_the_conversation(model):
    conversation = Conversation(model, **settings())
    pieces = list(conversation.answer(QUESTION))
    assert "".join(pieces) == ANSWER
    assert len(pieces) > 3
    assert [m["content"] for m in conversation.messages] == [QUESTION, ANSWER]
    second = tiny_model.conversation(tiny_model.ENGLISH[1])
    assert "".join(conversation.answer(second[0]["content"])) == second[1]["content"]
    conversation.new()
    assert conversation.messages == []


def test_reusing_what_was_computed_changes_nothing(folder, model):
    conversation = Conversation(model, **settings(max_new_tokens=20), system="Be brief.")
    for text in tiny_model.ENGLISH[:3]:
        answer = "".join(conversation.answer(tiny_model.conversation(text)[0]["content"]))
        ids, _ = model.encode_chat(conversation.messages[:-1], add_generation_prompt=True)
        assert answer == model.generate([ids], 20)[0].text


def test_characters_of_several_bytes_are_shown_whole(model):
    pieces = list(Conversation(model, **settings()).answer("Arabic?"))
    assert "".join(pieces) == "عربي 🙂"
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


def test_an_answer_that_is_stopped_stays_as_far_as_it_was_shown(model):
    conversation = Conversation(model, **settings())
    stream = conversation.answer(QUESTION)
    shown = next(stream) + next(stream)
    stream.close()
    assert conversation.messages[-1] == {"role": "assistant", "content": shown}
    assert "".join(conversation.answer(QUESTION))


def test_the_oldest_turns_are_forgotten(model):
    conversation = Conversation(model, **settings(max_new_tokens=40), system="Be brief.")
    for text in tiny_model.ENGLISH[:6]:
        list(conversation.answer(tiny_model.conversation(text)[0]["content"]))
        ids, _ = model.encode_chat(conversation.messages[:-1], add_generation_prompt=True)
        assert len(ids) + 40 <= model.max_length
    assert conversation.forgotten > 0
    before = list(conversation.messages)
    assert conversation.messages[0] == {"role": "system", "content": "Be brief."}
    assert conversation.messages[1]["role"] == "user"
    with pytest.raises(UserError, match="tokens are too many"):
        list(conversation.answer("bread " * 90))
    assert conversation.messages == before


def test_sampling_follows_the_seed(model):
    def answers(seed):
        conversation = Conversation(model, **settings(temperature=3.0, seed=seed))
        return ["".join(conversation.answer("The")), "".join(conversation.answer("bread"))]

    assert answers(1) == answers(1)
    assert answers(1) != answers(2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"temperature": -1.0}, "temperature"), ({"max_new_tokens": 96}, "max_new_tokens: 1 to 95")],
)
def test_settings_that_cannot_be(folder, changes, message):
    with pytest.raises(UserError, match=message):
        chat(folder, prompt="x", system=None, **settings(**changes))


def test_not_a_chat_model(folder, tmp_path):
    with pytest.raises(UserError, match=r"config\.json is missing; give the folder of a whole"):
        chat(tmp_path, prompt="x", system=None, **settings())
    for file in folder.iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match="no chat template"):
        chat(tmp_path, prompt="x", system=None, **settings())


def test_one_question_in_a_process_of_its_own(folder):
    arguments = f"prompt={QUESTION!r}, system=None, max_new_tokens=30, temperature=0.0, seed=0"
    script = f"from pathlib import Path; from diglot.serve.chat import chat; chat(Path({str(folder)!r}), {arguments})"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=True)
    assert done.stdout == ANSWER + "\n"


def typed(folder, monkeypatch, capsys, *lines) -> str:
    """What stands on the screen after these lines and the end of input."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in lines)))
    chat(folder, prompt=None, system=None, **settings())
    return capsys.readouterr().out


def test_a_conversation(folder, monkeypatch, capsys):
    second = tiny_model.conversation(tiny_model.ENGLISH[1])
    out = typed(folder, monkeypatch, capsys, QUESTION, second[0]["content"], "/new", "/what", "", "Arabic?")
    assert ANSWER in out
    assert second[1]["content"] in out
    assert "a new conversation" in out
    assert "commands: /new, /quit" in out
    assert "عربي 🙂" in out
    assert "bread" not in typed(folder, monkeypatch, capsys, "/quit", QUESTION)


def test_what_is_typed_in_another_encoding_is_answered(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9?\n/quit\n"), encoding="ascii"))
    chat(folder, prompt=None, system=None, **settings())
    assert capsys.readouterr().out.count("model ›") == 1


def test_control_c_stops_the_answer_and_not_the_conversation(folder, monkeypatch, capsys):
    tokens, stopped = Conversation._tokens, []

    def interrupted(self, ids):
        for number, token in enumerate(tokens(self, ids)):
            if number == 3 and not stopped:
                stopped.append(True)
                raise KeyboardInterrupt
            yield token

    monkeypatch.setattr(Conversation, "_tokens", interrupted)
    out = typed(folder, monkeypatch, capsys, QUESTION, "/new", QUESTION)
    assert "(stopped)" in out
    assert out.count(ANSWER) == 1


@pytest.mark.full
def test_a_real_model_answers_as_before_its_import(models, tmp_path):
    """SmolLM2-135M-Instruct, in its own chat format; its generation ends where its turn does."""
    source, question = models / "smollm2-135m", "What is the capital of Egypt?"
    done = diglot("import-model", "--path", source, "--out", tmp_path / "base")
    assert done.returncode == 0, done.stderr
    answers = [
        diglot("chat", folder, "--prompt", question, "--max-new-tokens", "30").stdout
        for folder in (source, tmp_path / "base")
    ]
    assert answers == ["The capital of Egypt is Cairo.\n"] * 2
    imported = LanguageModel.load(tmp_path / "base")
    assert set(imported.chat.ends) <= imported.end_ids
