"""Conversations and pairs that are longer than a row are split, cut or left out, and counted; so are thoughts."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import base_tokenizers
import chat_templates
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diglot.base.artifact import Artifact
from diglot.base.files import write_json
from diglot.encode.conversations import Conversations
from diglot.encode.origins import Encoded, Origin
from diglot.recipe.encode import Encode
from diglot.tokenizer import byte_fallback
from diglot.tokenizer.chat import Chat, load_chat

Message = dict[str, str]
SYSTEM = {"role": "system", "content": "s"}


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Chat:
    """A letter is a token, a byte three: <s>, and role and end around each message."""
    folder = tmp_path_factory.mktemp("tokenizer")
    byte_fallback.write_folder(folder, byte_fallback.build([*"abcdehinorstu▁.,?!0123456789<>|/\n"], []))
    return load_chat(folder)


@pytest.fixture(scope="module")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> Chat:
    """Qwen3's way with thoughts."""
    folder = tmp_path_factory.mktemp("qwen")
    base_tokenizers.BASES["qwen"](folder, ["who bakes bread? a baker."] * 3, 300)
    (folder / "chat_template.jinja").write_text(chat_templates.QWEN_3)
    return load_chat(folder)


def talk(*contents: str) -> list[Message]:
    return [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(contents)]


def encoding(path: Path, chat: Chat, records: list[dict], **settings: object) -> tuple[Conversations, list[Encoded]]:
    form = "pairs" if "prompt" in records[0] else "chat"
    artifact = Artifact(path, "chats", "instructions", "", "", "", {}, {}, {}, {})
    origin = Origin("chats", form, "en", "chat", artifact, {"train": len(records), "heldout": 0})
    for split in ("train", "heldout"):
        lines = path / f"{split}.jsonl"
        lines.unlink(missing_ok=True)
        with lines.open("w") as stream:
            for number, record in enumerate(records):
                write_json(path / "line", {"id": str(number), "source": "chats", **record}, indent=None)
                stream.write((path / "line").read_text().strip() + "\n")
    conversations = Conversations(origin, chat, Encode.model_validate({"do": "encode", **settings}))
    return conversations, [document for _, chunk in conversations.encode("train") for document in chunk]


def texts(chat: Chat, documents: list[Encoded]) -> list[tuple[str, str]]:
    """What each document says, and what is predicted of it."""

    def found(document: Encoded) -> Iterator[str]:
        assert document.targets is not None
        predicted = [id_ for id_, target in zip(document.ids, document.targets, strict=True) if target]
        for ids in (document.ids, predicted):
            yield chat.tokenizer.decode(ids, skip_special_tokens=False)

    return [(whole, predicted) for whole, predicted in map(found, documents)]


LONG = [SYSTEM, *talk("a", "b", "c", "d", "o", "t")]


def test_a_long_conversation_is_split_by_turns(chat: Chat, tmp_path: Path) -> None:
    """Each answer is predicted once; every piece has the system message."""
    assert len(chat.encode(LONG)[0]) == 1 + 3 * 7
    said, documents = encoding(tmp_path, chat, [{"messages": LONG}], conversation_tokens=16)
    assert texts(chat, documents) == [
        ("<s><|system|>s<|end|><|user|>a<|end|><|assistant|>b<|end|><|user|>c<|end|><|assistant|>d<|end|>", "b<|end|>d<|end|>"),
        ("<s><|system|>s<|end|><|user|>o<|end|><|assistant|>t<|end|>", "t<|end|>"),
    ]  # fmt: skip
    assert (said.split_up, said.cut, said.left_out) == (1, 0, {})
    assert [document.bytes for document in documents] == [2, 1]
    assert said.told() == ["of 1 records of chats: 1 split by turns"]


def test_a_turn_that_is_too_long_alone_is_left_out_and_said(chat: Chat, tmp_path: Path) -> None:
    records = [{"messages": talk("a", "b", "c" * 20, "d", "o", "t")}, {"messages": talk("a" * 30, "b")}]
    said, documents = encoding(tmp_path, chat, records, conversation_tokens=10)
    assert [predicted for _, predicted in texts(chat, documents)] == ["b<|end|>", "t<|end|>"]
    assert said.left_out == {"turn_too_long": 1, "too_long": 1}
    assert said.told() == ["of 2 records of chats: 1 split by turns, 2 left out (turn too long 1, too long 1)"]


@pytest.mark.parametrize(("how", "kept"), [("cut", 1), ("refuse", 0)])
def test_it_is_cut_or_refused_where_that_is_asked_for(chat: Chat, tmp_path: Path, how: str, kept: int) -> None:
    records = [{"messages": LONG}, {"messages": talk("a" * 30, "b")}]
    said, documents = encoding(tmp_path, chat, records, conversation_tokens=16, too_long=how)
    assert [document.ids for document in documents] == [chat.encode(LONG)[0][:16]] * kept
    assert said.cut == kept
    assert said.left_out == {"too_long": 2 - kept}
    assert [chunk for _, chunk in said.encode("heldout")] == [[]]  # half an answer has no bits per byte


@pytest.mark.parametrize("pair_loss", ["all", "last"])
def test_a_pair_with_a_prompt_of_several_turns_is_predicted_behind_it_alone(
    chat: Chat, tmp_path: Path, pair_loss: str
) -> None:
    prompt = [SYSTEM, *talk("a", "b", "c")]
    chosen, rejected = talk("-", "d", "o", "t")[1:], talk("-", "n", "o", "e")[1:]
    record = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    _, documents = encoding(tmp_path, chat, [record], pair_loss=pair_loss)
    both = (
        [("d<|end|>t<|end|>", 2), ("n<|end|>e<|end|>", 2)] if pair_loss == "all" else [("t<|end|>", 1), ("e<|end|>", 1)]
    )
    assert [(predicted, document.bytes) for (_, predicted), document in zip(texts(chat, documents), documents)] == both
    for (whole, _), answer in zip(texts(chat, documents), (chosen, rejected)):
        assert whole == chat.tokenizer.decode(chat.encode(prompt + answer)[0], skip_special_tokens=False)


MARKED = [*talk("a", "b", "c", "d", "o", "t")]
MARKED[1], MARKED[3] = {**MARKED[1], "train": False}, {**MARKED[3], "train": True}


@pytest.mark.parametrize(
    ("which", "predicted", "num_bytes"),
    [("all", "d<|end|>t<|end|>", 2), ("last", "t<|end|>", 1), ("marked", "d<|end|>", 1)],
)
def test_which_answers_are_predicted_is_a_setting(
    chat: Chat, tmp_path: Path, which: str, predicted: str, num_bytes: int
) -> None:
    _, documents = encoding(tmp_path, chat, [{"messages": MARKED}], conversation_loss=which)
    assert [said for _, said in texts(chat, documents)] == [predicted]
    assert [document.bytes for document in documents] == [num_bytes]
    assert documents[0].ids == chat.encode(MARKED)[0] == chat.encode(talk("a", "b", "c", "d", "o", "t"))[0]


def test_a_conversation_without_an_answer_to_learn_is_left_out(chat: Chat, tmp_path: Path) -> None:
    records = [{"messages": MARKED}, {"messages": talk("a", "b")}]
    said, documents = encoding(tmp_path, chat, records, conversation_loss="marked")
    assert [document.id for document in documents] == ["0"]
    assert said.left_out == {"nothing_to_learn": 1}
    # Nor are pieces of long ones.
    said, documents = encoding(tmp_path, chat, records[:1], conversation_tokens=8)
    assert [(document.id, predicted) for document, (_, predicted) in zip(documents, texts(chat, documents))] == [
        ("0", "d<|end|>"), ("0", "t<|end|>"),
    ]  # fmt: skip
    assert not said.left_out


def test_the_oldest_turns_go_where_the_last_answer_alone_is_predicted(chat: Chat, tmp_path: Path) -> None:
    _, documents = encoding(tmp_path, chat, [{"messages": LONG}], conversation_tokens=12, conversation_loss="last")
    assert [document.ids for document in documents] == [chat.encode([SYSTEM, *LONG[5:]])[0]]
    assert [predicted for _, predicted in texts(chat, documents)] == ["t<|end|>"]


def test_calls_of_tools_stay_with_their_question(thinking: Chat, tmp_path: Path) -> None:
    """A turn is a question with all that follows it; what the template cannot write is left out under its reason."""
    called = {"role": "assistant", "content": "<tool_call>who</tool_call>"}
    turn = [talk("who?")[0], called, {"role": "tool", "content": "a baker"}, {"role": "assistant", "content": "baker"}]
    record = {"messages": [*turn, *talk("what?", "bread")]}
    short = len(thinking.encode(turn)[0])
    said, documents = encoding(tmp_path, thinking, [record], conversation_tokens=short)
    assert [document.ids for document in documents] == [
        thinking.encode(part)[0] for part in (turn, talk("what?", "bread"))
    ]
    assert "a baker" not in "".join(predicted for _, predicted in texts(thinking, documents))
    call = {"type": "function", "function": {"name": "who", "arguments": {}}}
    unwritten = {"messages": [talk("who?")[0], {"role": "assistant", "content": "", "tool_calls": [call]}, *turn[2:]]}
    said, documents = encoding(tmp_path, thinking, [unwritten])
    assert (documents, said.left_out) == ([], {"tools_differ": 1})
    assert "leaves out a call of a tool" in said.difference


def test_nothing_is_shortened_where_no_length_is_set(chat: Chat, tmp_path: Path) -> None:
    said, documents = encoding(tmp_path, chat, [{"messages": LONG}])
    assert [document.ids for document in documents] == [chat.encode(LONG)[0]]
    assert not said.told()
    with pytest.raises(ValueError, match="too_long would do nothing"):
        Encode.model_validate({"do": "encode", "too_long": "cut"})


PAIR = {"prompt": LONG[:-1], "chosen": talk("", "t")[1:], "rejected": talk("", "ee")[1:]}


def test_the_oldest_turns_of_a_long_pair_go(chat: Chat, tmp_path: Path) -> None:
    said, documents = encoding(tmp_path, chat, [PAIR], pair_tokens=35)
    shorter = [SYSTEM, *talk("c", "d", "o")]
    assert [d.ids for d in documents] == [chat.encode(shorter + PAIR[a])[0] for a in ("chosen", "rejected")]
    assert [predicted for _, predicted in texts(chat, documents)] == ["t<|end|>", "ee<|end|>"]
    assert said.split_up == 1
    said, documents = encoding(tmp_path, chat, [PAIR], pair_tokens=20)  # not even the question
    assert (documents, said.left_out) == ([], {"too_long": 1})


@pytest.mark.parametrize("limit", range(14, 260, 13))
def test_no_more_turns_go_than_have_to(chat: Chat, tmp_path: Path, limit: int) -> None:
    turns = talk(*("a" * (number % 5 + 1) for number in range(13)))
    record = {"prompt": [SYSTEM, *turns], "chosen": PAIR["chosen"], "rejected": PAIR["rejected"]}
    wanted: list[list[int]] = []
    for dropped in range(0, 13, 2):
        prompt = [SYSTEM, *turns[dropped:]]
        wanted = [chat.encode(prompt + record[answer])[0] for answer in ("chosen", "rejected")]
        if sum(map(len, wanted)) <= limit:
            break
    else:
        wanted = []
    _, documents = encoding(tmp_path, chat, [record], pair_tokens=limit)
    assert [document.ids for document in documents] == wanted


def test_a_pair_is_cut_so_that_both_answers_share_the_row(chat: Chat, tmp_path: Path) -> None:
    pair = {"prompt": talk("a"), "chosen": talk("", "b" * 30)[1:], "rejected": talk("", "c")[1:]}
    said, documents = encoding(tmp_path, chat, [pair], pair_tokens=30, too_long="cut")
    assert [len(document.ids) for document in documents] == [30 - 7, 7]
    assert said.cut == 1
    alike = {**pair, "chosen": talk("", "b" * 40)[1:], "rejected": talk("", "b" * 30 + "c")[1:]}
    said, documents = encoding(tmp_path, chat, [alike], pair_tokens=30, too_long="cut")
    assert (documents, said.left_out) == ([], {"too_long": 1})


@given(
    sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=6),
    limit=st.integers(8, 60),
    has_system=st.booleans(),
)
def test_split_pieces_fit_and_hold_every_answer_that_can(
    chat: Chat, tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, int]], limit: int, has_system: bool
) -> None:
    system = [SYSTEM] * has_system
    turns = [talk("a" * question, "b" * answer) for question, answer in sizes]
    record = {"messages": [*system, *itertools.chain.from_iterable(turns)]}
    _, documents = encoding(tmp_path_factory.mktemp("x"), chat, [record], conversation_tokens=limit)
    assert all(len(document.ids) <= limit for document in documents)
    fitting = [turn[1]["content"] for turn in turns if len(chat.encode(system + turn)[0]) <= limit]
    assert "".join(said for _, said in texts(chat, documents)) == "".join(f"{answer}<|end|>" for answer in fitting)


THINKING = talk("who?", "<think>\na baker\n</think>\n\nbaker", "what?", "<think>\nbread\n</think>\n\nbread")


def test_every_answer_has_its_thoughts_and_a_prompt_as_the_template_writes_it(thinking: Chat, tmp_path: Path) -> None:
    said, documents = encoding(tmp_path, thinking, [{"messages": THINKING}, {"messages": talk("who?", "baker")}])
    found = texts(thinking, documents)
    assert [predicted for _, predicted in found] == [
        f"{THINKING[1]['content']}<|im_end|>", f"{THINKING[3]['content']}<|im_end|>", "<think>\n\n</think>\n\nbaker<|im_end|>",
    ]  # fmt: skip
    assert found[1][0] == (
        "<|im_start|>user\nwho?<|im_end|>\n<|im_start|>assistant\nbaker<|im_end|>\n"
        "<|im_start|>user\nwhat?<|im_end|>\n<|im_start|>assistant\n" + THINKING[3]["content"] + "<|im_end|>\n"
    )
    assert [document.id for document in documents] == ["0", "0", "1"]
    assert not said.left_out


def test_what_the_template_writes_otherwise_is_left_out_and_said(thinking: Chat, tmp_path: Path) -> None:
    odd = talk("who?", THINKING[1]["content"], "<tool_response>x</tool_response>", "a baker")
    said, documents = encoding(tmp_path, thinking, [{"messages": odd}, {"messages": talk("who?", "baker")}])
    # Its first answer has a document, and its last is no answer to what the template would ask.
    assert [document.id for document in documents] == ["0", "1"]
    assert said.left_out == {"template_differs": 1}
    (told,) = said.told()
    assert "0: after" in told
    assert "the template writes '<think>" in told
