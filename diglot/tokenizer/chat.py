r"""A conversation as ids, in the chat format of a tokenizer's folder.

A conversation is one flat text. Before every message stands what names its role, after it a token that ends it:

    diglot    <s><|user|>What does a baker bake?<|end|><|assistant|>Bread.<|end|>
    chatml    <|im_start|>user⏎What does a baker bake?<|im_end|>⏎<|im_start|>assistant⏎Bread.<|im_end|>⏎
    llama-3   <|begin_of_text|><|start_header_id|>user<|end_header_id|>⏎⏎What does a baker bake?<|eot_id|>…

`diglot` is what tokenizers of ours have: no separator stands between a role's token and the content, so content is
encoded exactly as it is encoded alone. `chatml` (Qwen) and `llama-3` are taken over from bases that have them.

Which format a folder has is said by its chat template, and is put to the test: the template must write prompts as the
format does, token for token. Three things are learnt from the template itself:

* what begins a conversation: the beginning-of-text token (`<s>`, GPT-2's `<|endoftext|>`, none in Qwen), and a fixed
  text where the template adds one, such as Qwen2.5's own system message in conversations without one;
* what stands before a system message (Llama-3.1 puts dates into it);
* in which roles spaces around the content are removed (Llama-3: in all).

Thoughts are written as the template writes them. Where it drops those of earlier answers, so do we, and such answers are not
predicted, for nobody shall learn to answer without thinking from one whose thoughts were taken away; where it puts empty ones
before the last answer (Qwen3), so do we, and they are predicted with it (thoughts.py).

A template works on text, so a user who types `<|assistant|>` gets a real role token out of it; `Chat` works on ids and
encodes every content as plain text, so nobody can forge a role. Everything else has the template's ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import tokenizers

from diglot.base.errors import UserError
from diglot.tokenizer.description import read_settings, read_specification, special_name
from diglot.tokenizer.folder import build_tokenizer, load_tokenizer, reader_of_bytes
from diglot.tokenizer.special import FORMATS, ROLES, ChatFormat
from diglot.tokenizer.template import Template, TemplateFailure, read_template
from diglot.tokenizer.thoughts import EMPTY, Thoughts, learn_thoughts

Messages = Sequence[Mapping[str, str]]


REMEDY = (
    "Give the tokenizer Diglot's own chat format: extend-tokenizer with `chat: diglot`; train-tokenizer always does."
)
# What is said while a template is learnt, and, with other spaces around it, while it is tested.
LEARNING = {"system": " Be brief.\n ", "user": " What is baked?\n ", "assistant": " Bread.\n "}
TESTING = {"system": "\tSpeak up. \n\n", "user": "Who bakes it,\nwhere?  ", "assistant": "  A baker 12.\n"}


class NoChatFormat(UserError):
    """A tokenizer's folder has no chat format, or one that is not known here."""


class Chat:
    """The chat format of one tokenizer.

    Attributes:
        name: the format's.
        tokenizer: takes every text as plain text.
        ends: ids of the tokens that end an answer (an end-of-text token ends it as well).
    """

    def __init__(
        self,
        chat_format: ChatFormat,
        tokenizer: tokenizers.Tokenizer,
        special: Mapping[str, int],
        unknown: int | None,
        opening: str,
        system_opening: str,
        stripped: frozenset[str],
        template: Template,
        thoughts: Thoughts,
        always_prompts: bool,
    ):
        """Use `load_chat`.

        Args:
            chat_format: how messages are written.
            tokenizer: with `encode_special_tokens`.
            special: ids of all special tokens.
            unknown: the id of what is not in the vocabulary, which any text may have.
            opening: what a conversation without a system message begins with.
            system_opening: what stands before the content of a system message at the beginning.
            stripped: roles whose content loses the spaces around it.
            template: of the folder.
            thoughts: what it does to them.
            always_prompts: every conversation ends in what stands before an answer.
        """
        self.name, self.tokenizer = chat_format.name, tokenizer
        self.ends: tuple[int, ...] = (special[chat_format.end],)
        self._format, self._special = chat_format, special
        self._opening, self._system_opening, self._stripped = opening, system_opening, stripped
        self._template, self._thoughts, self._always_prompts = template, thoughts, always_prompts
        self._never = frozenset(special.values()) - {unknown}
        self._bytes_of = reader_of_bytes(tokenizer)
        self._split = re.compile("(" + "|".join(map(re.escape, sorted(special, key=len, reverse=True))) + ")")
        self._known: dict[str, tuple[list[int], str]] = {}

    def encode(self, messages: Messages, add_generation_prompt: bool = False) -> tuple[list[int], list[int]]:
        """Encode a conversation, with marks on what the assistant says.

        The ids are those of the template's text, whatever merges at an answer's border: where it begins in spaces, GPT-2's
        pattern joins these with the line end behind the role. Such a token holds a part of the answer and is predicted.
        But for these, a prompt's ids are the beginning of the conversation's.

        Args:
            messages: `{"role": "system" | "user" | "assistant", "content": str}`, in order.
            add_generation_prompt: end in what stands before an answer, for the model to go on.

        Returns:
            The token ids, and for each 1 where it is to be predicted (the assistant's content and the token that
            ends it, but not of `forgetting` answers), else 0.

        Raises:
            UserError: an unknown role, or a content that is not a string.
        """
        ids: list[int] = []
        targets: list[int] = []
        for before, content, role, is_predicted in self._parts(messages):
            head, tail = self._cut(before)
            if role == "assistant":
                asked, said = self._continued(tail, content)
            else:
                asked, said = self._plain(tail + content), []
            ids += [*head, *asked, *said, *self.ends]
            targets += [*[0] * (len(head) + len(asked)), *[int(is_predicted)] * (len(said) + 1)]
        head, tail = self._cut(self._closing(messages, add_generation_prompt))
        last = [*head, *self._plain(tail)]
        return ids + last, targets + [0] * len(last)

    def text(self, messages: Messages, add_generation_prompt: bool = False) -> str:
        """The conversation as the chat template writes it, for people to read; see `encode`."""
        parts = "".join(before + content + self._format.end for before, content, *_ in self._parts(messages))
        return parts + self._closing(messages, add_generation_prompt)

    @property
    def asks_for_date(self) -> bool:
        """Whether the template writes today's date where it has a clock; here it has none, and writes a fixed one."""
        return "strftime_now" in self._template.text

    def forgetting(self, messages: Messages) -> list[int]:
        """The numbers of answers that lose their thoughts because a question follows: they are not predicted."""
        parts = enumerate(self._parts(messages))
        return [number for number, (*_, role, is_predicted) in parts if role == "assistant" and not is_predicted]

    def difference(self, messages: Messages) -> str | None:
        """Where the chat template writes a conversation otherwise; None: nowhere.

        Asked are the prompt and, where it has tags that the template knows, the answer; conversations without such
        tags are as those that the format was tested with.

        Args:
            messages: the last is an answer.
        """
        tags = self._thoughts.tags
        if tags is None or not any(tags.search(message["content"]) for message in messages):
            return None
        asked = [(messages[:-1], True)]
        if tags.search(messages[-1]["content"]):
            asked.append((messages, False))
        try:
            for part, is_prompt in asked:
                if (theirs := self._template.render(part, is_prompt)) != (ours := self.text(part, is_prompt)):
                    return _first_difference(theirs, ours)
        except TemplateFailure as failure:
            return str(failure)
        return None

    def _parts(self, messages: Messages) -> Iterator[tuple[str, str, str, bool]]:
        """By message: what stands before the content, the content, its role, and whether it is to be predicted."""
        last_question = max((number for number, one in enumerate(messages) if one.get("role") == "user"), default=0)
        for number, message in enumerate(messages):
            role, content = message.get("role"), message.get("content")
            if role not in ROLES:
                raise UserError(f"message {number}: unknown role {role!r}; known: {', '.join(ROLES)}")
            if not isinstance(content, str):
                raise UserError(f"message {number} ({role}): content must be text, not {type(content).__name__}")
            if number:
                before = self._format.after + self._format.before[role]
            else:
                system = role == "system"
                before = self._system_opening if system else self._opening + self._format.before[role]
            content = content.strip() if role in self._stripped else content
            if role == "assistant":
                rewrite = self._thoughts.earlier if number < last_question else self._thoughts.latest
                lost = number < last_question and rewrite(content) != content
                yield before, rewrite(content), role, not lost
            else:
                yield before, content, role, False

    def _closing(self, messages: Messages, add_generation_prompt: bool) -> str:
        prompt = self._format.before["assistant"] if add_generation_prompt or self._always_prompts else ""
        return (self._format.after if messages else self._opening) + prompt

    def _cut(self, text: str) -> tuple[list[int], str]:
        """A text of the format: ids up to its last special token, and the plain text after that."""
        if text not in self._known:
            *pieces, tail = self._split.split(text)
            ids = [
                id_
                for piece in pieces
                for id_ in ([self._special[piece]] if piece in self._special else self._plain(piece))
            ]
            self._known[text] = ids, tail
        return self._known[text]

    def _continued(self, tail: str, content: str) -> tuple[list[int], list[int]]:
        """The ids of a text with a content after it: those of the text alone, and those that hold any of the content."""
        given, rest = self._cut(EMPTY) if content.startswith(EMPTY) else ([], "")
        if given:  # thoughts stand between special tokens here
            return self._plain(tail) if tail else [], [*given, *self._plain(rest + content[len(EMPTY) :])]
        alone, together = self._plain(tail) if tail else [], self._plain(tail + content)
        border, left = len(alone), len(tail.encode())
        if together[:border] != alone:  # a token holds the end of the one and the beginning of the other
            border = 0
            while border < len(together) and (left := left - len(self._bytes_of(together[border]))) >= 0:
                border += 1
        return together[:border], together[border:]

    def _plain(self, text: str) -> list[int]:
        """The ids of plain text, none of them special.

        Unigram tokenizers find pieces by their text alone, `</s>` too: such a find is cut behind its first character.
        """
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        ids = encoding.ids
        if len(text) < 2 or self._never.isdisjoint(ids):
            return ids
        found = zip(ids, encoding.offsets, strict=True)
        behind = (min(start + 1, len(text) - 1) for id_, (start, _) in found if id_ in self._never)
        cuts = [0, *behind, len(text)]
        return [id_ for start, end in pairwise(cuts) for id_ in self._plain(text[start:end])]


# --- which format a folder has --------------------------------------------------------------------------------


def format_of(folder: Path) -> str | None:
    """The name of a tokenizer's chat format; None where it has none that is known here.

    Raises:
        UserError: not a tokenizer's folder.
    """
    try:
        return load_chat(folder).name
    except NoChatFormat:
        return None


def load_chat(folder: Path) -> Chat:
    """Find out a folder's chat format, and prove that it writes prompts as the folder's chat template does.

    Args:
        folder: a Hugging Face folder with tokenizer.json, tokenizer_config.json and a chat template.

    Raises:
        NoChatFormat: there is no chat template, or it writes none of the formats; with the first difference.
        UserError: not a tokenizer's folder.
    """
    parser = load_tokenizer(folder)
    parser.encode_special_tokens = False
    config = read_settings(folder, parser)
    text = read_template(folder, config)
    if text is None:
        raise NoChatFormat(f"{folder}: the tokenizer has no chat template. {REMEDY}")
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    special = {name: token for name in names if (token := special_name(config, name)) is not None}
    specification = read_specification(folder)
    added = {token["content"] for token in specification["added_tokens"]}
    try:
        template = Template(text, special)
    except TemplateFailure as failure:
        raise NoChatFormat(f"{folder}: its chat template cannot be used: {failure}. {REMEDY}") from failure
    # A format whose special tokens the folder lacks can't be its own, whatever the template says.
    missing = {one.name: [token for token in one.tokens if token not in added] for one in FORMATS}
    if all(missing.values()):
        lacks = "; ".join(f"{name} needs {tokens[0]}" for name, tokens in missing.items())
        raise NoChatFormat(f"{folder}: the tokenizer lacks special tokens of every chat format: {lacks}. {REMEDY}")
    troubles = []
    for chat_format in FORMATS:
        if missing[chat_format.name]:
            continue
        # What the template adds is learnt from one conversation and tested on another.
        try:
            chat = _learn(chat_format, template, specification)
            _test(chat, template, parser)
        except (_Differs, TemplateFailure) as trouble:
            troubles.append(f"{chat_format.name}: {trouble}")
        else:
            return chat
    raise NoChatFormat(f"{folder}: its chat template does not write the format {', nor '.join(troubles)}. {REMEDY}")


class _Differs(Exception):
    """Where a template and a format differ."""


def _learn(chat_format: ChatFormat, template: Template, specification: dict[str, Any]) -> Chat:
    """The format with what the template adds to it."""
    system, user, assistant = ({"role": role, "content": text} for role, text in LEARNING.items())
    rendering = template.render([user, assistant, user], True)
    opening, user_stripped = _before(rendering, chat_format.before["user"], LEARNING["user"])
    _, answer_stripped = _before(rendering, chat_format.before["assistant"], LEARNING["assistant"])
    system_opening, system_stripped = _before(template.render([system, user], True), "", LEARNING["system"])
    stripped = {"user": user_stripped, "assistant": answer_stripped, "system": system_stripped}
    tokenizer = _plain_tokenizer(specification, chat_format.tokens)
    special = {
        token["content"]: token["id"]
        for token in specification["added_tokens"]
        if token["special"] or token["content"] in chat_format.tokens
    }
    roles = frozenset(role for role, is_stripped in stripped.items() if is_stripped)
    model = specification["model"]
    unknown = model.get("unk_id", special.get(model.get("unk_token") or ""))
    thoughts = learn_thoughts(template, chat_format.before["assistant"])
    # Llama-3's first template asks for an answer behind every conversation; nothing of that is predicted.
    always_prompts = template.render([user, assistant], False).endswith(chat_format.before["assistant"])
    return Chat(
        chat_format, tokenizer, special, unknown, opening, system_opening, roles, template, thoughts, always_prompts
    )


def _before(rendering: str, header: str, content: str) -> tuple[str, bool]:
    """What stands before a message, and whether the content was stripped."""
    for text in (content, content.strip()):
        before, found, _ = rendering.partition(header + text)
        if found:
            return before, text != content
    middle = max(rendering.find(content.strip()), 0)
    around = rendering[max(middle - 50, 0) : middle + 50]
    raise _Differs(f"the template writes {around!r}, without {(header + content)!r}")


def _plain_tokenizer(specification: dict[str, Any], tokens: Sequence[str]) -> tokenizers.Tokenizer:
    """The tokenizer that takes every text as plain text, wherever in a conversation it stands.

    The format's tokens become special where they are not, or they would be found in contents. SentencePiece's space
    before the first word (Llama-2) goes: in a conversation no text comes first, special tokens stand before it.
    """
    added = [
        {**token, "special": token["special"] or token["content"] in tokens} for token in specification["added_tokens"]
    ]
    splitter = specification.get("pre_tokenizer")
    copy = {**specification, "added_tokens": added, "pre_tokenizer": _without_first_space(splitter)}
    text = json.dumps(copy, ensure_ascii=False)
    return build_tokenizer("tokenizer.json with its chat tokens", lambda: tokenizers.Tokenizer.from_str(text))


def _without_first_space(splitter: Any) -> Any:
    if isinstance(splitter, dict) and splitter["type"] == "Sequence":
        return {**splitter, "pretokenizers": [_without_first_space(one) for one in splitter["pretokenizers"]]}
    if isinstance(splitter, dict) and splitter.get("prepend_scheme") == "first":
        return {**splitter, "prepend_scheme": "never"}
    return splitter


def _test(chat: Chat, template: Template, parser: tokenizers.Tokenizer) -> None:
    """Compare prompts of one and two turns, with and without a system message, by text and by ids; likewise with answers."""
    system, user, assistant = ({"role": role, "content": text} for role, text in TESTING.items())
    other = {"role": "user", "content": LEARNING["user"]}
    prompts = [[user], [user, assistant, other], [system, user], [system, other, assistant, user]]
    for messages, is_prompt in [
        *((each, True) for each in prompts),
        *(([*each, assistant], False) for each in prompts),
    ]:
        theirs, ours = template.render(messages, is_prompt), chat.text(messages, is_prompt)
        if theirs != ours:
            raise _Differs(_first_difference(theirs, ours))
        their_ids = parser.encode(theirs, add_special_tokens=False).ids
        our_ids, _ = chat.encode(messages, is_prompt)
        if their_ids != our_ids:
            decode = parser.decode
            raise _Differs(
                f"{theirs!r} is encoded as {[decode([id_], skip_special_tokens=False) for id_ in their_ids]}, not as "
                f"{[decode([id_], skip_special_tokens=False) for id_ in our_ids]}"
            )


def _first_difference(theirs: str, ours: str) -> str:
    same = 0
    while theirs[same : same + 1] == ours[same : same + 1]:
        same += 1
    place = f"after {theirs[max(same - 40, 0) : same]!r}" if same else "at the beginning"
    return f"{place} the template writes {theirs[same : same + 60]!r}, the format {ours[same : same + 60]!r}"
