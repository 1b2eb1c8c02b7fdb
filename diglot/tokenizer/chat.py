r"""A conversation as ids, in the chat format of a tokenizer's folder.

A conversation is one flat text, written as the folder's chat template writes it:

    diglot    <s><|user|>What does a baker bake?<|end|><|assistant|>Bread.<|end|>
    chatml    <|im_start|>user⏎What does a baker bake?<|im_end|>⏎<|im_start|>assistant⏎Bread.<|im_end|>⏎
    llama-3   <|begin_of_text|><|start_header_id|>user<|end_header_id|>⏎⏎What does a baker bake?<|eot_id|>…
    llama-2   <s>[INST] What does a baker bake? [/INST] Bread. </s>
    gemma     <bos><start_of_turn>user⏎What does a baker bake?<end_of_turn>⏎<start_of_turn>model⏎Bread.<end_of_turn>⏎

`diglot` is what tokenizers of ours have; the others, and any like them, are taken over from bases that have them. What a
template writes around contents is learnt from itself (skeleton.py), and put to the test on other conversations, token for
token. A template is a chat format here if

* it writes every content once, and takes from it no more than the spaces around it;
* a special token ends every answer, one that is known to end generations;
* an answer begins where the prompt for it ends: what follows the prompt is what the model is to say.

A special token of the format cannot be forged: a template works on text, so a user who types `<|assistant|>` gets a real role
token out of it; `Chat` works on ids and encodes every content as plain text. Marks that are no special tokens (`[INST]` of
Llama-2) are plain text by themselves, and a user can type them. Everything else has the template's ids.

Thoughts are written as the template writes them. Where it drops those of earlier answers, so do we, and such answers are not
predicted, for nobody shall learn to answer without thinking from one whose thoughts were taken away; where it puts empty ones
before the last answer (Qwen3), so do we, and they are predicted with it (thoughts.py). Where a template takes no system
message, or not always (Gemma 2, Mistral's), the next question begins with it, as Gemma 3's own template has it.

Calls of tools are a part of the answer: what the template writes for it beside a question, but for what stands before and
behind every answer. Where anything of a conversation with tools is written otherwise, `Chat.difference` says so.
"""

from __future__ import annotations

import functools
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
from diglot.tokenizer.skeleton import Differs, Skeleton, read_skeleton
from diglot.tokenizer.special import ENDS, FORMATS, ROLES, TURNS
from diglot.tokenizer.template import Template, TemplateFailure, read_template
from diglot.tokenizer.thoughts import EMPTY, learn_thoughts

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]
TOOL = "tool"

REMEDY = (
    "Give the tokenizer Diglot's own chat format: extend-tokenizer with `chat: diglot`; train-tokenizer always does."
)
# What is said to test a template, and between the turns of that.
TESTING = {"system": "\tSpeak up. \n\n", "user": "Who bakes it,\nwhere?  ", "assistant": "  A baker 12.\n"}
OTHER = {"role": "user", "content": " What is baked?\n "}
SKELETONS, SHORT = 1000, 100  # orders of roles that are remembered, and texts of fewer characters


class NoChatFormat(UserError):
    """A tokenizer's folder has no chat format, or one that is not known here."""


class Chat:
    """The chat format of one tokenizer.

    Attributes:
        name: the format's; `own` for one without a name here.
        tokenizer: takes every text as plain text.
        ends: ids of the tokens that end an answer (an end-of-text token ends it as well).
        takes_system: whether the template writes system messages.
    """

    def __init__(self, template: Template, specification: dict[str, Any], end_of_text: str | None):
        """Use `load_chat`.

        Args:
            template: of the folder.
            specification: tokenizer.json.
            end_of_text: the token that ends a sequence, which may end answers too.

        Raises:
            Differs, TemplateFailure: the template is no chat format.
        """
        self._template = template
        self.takes_system = _takes_system(template)
        written = read_skeleton(template, ("user", "assistant", "user"), True, False)
        self._thoughts = learn_thoughts(template, written.slots[1].before)
        # Tokens that the format's text may be made of: the special ones, and those of known formats whatever the file says.
        self._special = {
            token["content"]: token["id"]
            for token in specification["added_tokens"]
            if token["special"] or token["content"] in TURNS
        }
        pattern = "|".join(map(re.escape, sorted(self._special, key=len, reverse=True)))
        self._split = re.compile(f"({pattern})" if pattern else r"(?!)")
        self._skeleton = functools.lru_cache(SKELETONS)(self._read_skeleton)
        self._pieces = functools.lru_cache(SKELETONS)(self._split.split)
        self._calling = functools.lru_cache(SKELETONS)(self._with_calls)
        self.name = _name_of(written, self._split, template.text)
        self._lead = self._learn_lead()
        ends = dict.fromkeys(self._learn_ends())
        if unknown := [token for token in ends if token not in (*ENDS, end_of_text)]:
            raise Differs(f"the template ends answers in {unknown[0]!r}, which is not known to end generations")
        self.ends = tuple(self._special[token] for token in ends)
        self.tokenizer = _plain_tokenizer(specification, frozenset(self._special))
        model = specification["model"]
        unknown_id = model.get("unk_id", self._special.get(model.get("unk_token") or ""))
        self._never = frozenset(self._special.values()) - {unknown_id}
        self._bytes_of = reader_of_bytes(self.tokenizer)
        # What the format itself writes comes with every message: six of a conversation's seven texts in ChatML.
        self._short = functools.lru_cache(SKELETONS)(self._encode_plain)

    def encode(
        self, messages: Messages, add_generation_prompt: bool = False, tools: Tools = ()
    ) -> tuple[list[int], list[int]]:
        """Encode a conversation, with marks on what the assistant says.

        The ids are those of the template's text, whatever merges at an answer's border: where it begins in spaces, GPT-2's
        pattern joins these with the line end behind the role. Such a token holds a part of the answer and is predicted.
        But for these, a prompt's ids are the beginning of the conversation's.

        Args:
            messages: `{"role": "system" | "user" | "assistant" | "tool", "content": str}`, in order; an answer may have
                `tool_calls` beside its content, and say `train: false`.
            add_generation_prompt: end in what stands before an answer, for the model to go on.
            tools: that the template describes, as JSON schemas.

        Returns:
            The token ids, and for each 1 where it is to be predicted (the assistant's content and the token that
            ends it, but not of `forgetting` answers and those that are not to be learnt), else 0.

        Raises:
            UserError: an unknown role, or a content that is not a string.
        """
        ids: list[int] = []
        targets: list[int] = []
        asked, said, is_predicted = "", None, False  # plain text since the last special token; `said` is an answer's
        for before, content, role, is_learnt in self._parts(messages, add_generation_prompt, tools):
            for place, piece in enumerate(self._pieces(before)):
                if place % 2 == 0:  # between special tokens
                    asked, said = (asked + piece, said) if said is None else (asked, said + piece)
                    continue
                head, answer = self._continued(asked, said or "")
                ids += [*head, *answer, self._special[piece]]
                targets += [
                    *[0] * len(head),
                    *[int(is_predicted)] * len(answer),
                    int(is_predicted and said is not None),
                ]
                asked, said = "", None
            if role == "assistant":
                # Before an answer the template may write what the prompt for it does not end in: Llama-2's space.
                asked, said, is_predicted = asked.removesuffix(self._lead), self._lead + content, is_learnt
            else:
                asked += content
        last = self._plain(asked)
        return ids + last, targets + [0] * len(last)

    def text(self, messages: Messages, add_generation_prompt: bool = False, tools: Tools = ()) -> str:
        """The conversation as the chat template writes it, for people to read; see `encode`."""
        return "".join(before + content for before, content, *_ in self._parts(messages, add_generation_prompt, tools))

    def spoken(self, message: Mapping[str, Any]) -> str:
        """What the assistant says in a message: its content, and calls of tools as the template writes them.

        Raises:
            UserError: the template writes no such calls.
        """
        return self._calling(json.dumps(message)) if message.get("tool_calls") else message["content"]

    @property
    def asks_for_date(self) -> bool:
        """Whether the template writes today's date where it has a clock; here it has none, and writes a fixed one."""
        return "strftime_now" in self._template.text

    def forgetting(self, messages: Messages) -> list[int]:
        """The numbers of answers that lose their thoughts because a question follows: they are not predicted."""
        last_question = _last_question(messages)
        answers = [(number, one["content"]) for number, one in enumerate(messages) if one["role"] == "assistant"]
        return [
            number
            for number, content in answers
            if number < last_question and self._thoughts.earlier(content) != content
        ]

    def difference(self, messages: Messages, tools: Tools = ()) -> str | None:
        """Where the chat template writes a conversation otherwise; None: nowhere.

        Asked are the prompt and, where it has tags that the template knows, the answer; conversations without such
        tags are as those that the format was tested with. Of conversations with tools all is asked.

        Args:
            messages: the last is an answer.
            tools: that the template describes.
        """
        tags, has_tools = self._thoughts.tags, uses_tools(messages, tools)
        if not has_tools and (tags is None or not any(tags.search(message["content"]) for message in messages)):
            return None
        asked = [(messages[:-1], True)]
        if has_tools or (tags and tags.search(messages[-1]["content"])):
            asked.append((messages, False))
        try:
            if has_tools:
                self._check_tools(messages, tools)
            for part, is_prompt in asked:
                if (theirs := self._template.render(self._prepared(part), is_prompt, tools)) != (
                    ours := self.text(part, is_prompt, tools)
                ):
                    return _first_difference(theirs, ours)
        except TemplateFailure as failure:
            return str(failure)
        except UserError as trouble:  # what the template takes of no conversation with tools
            return str(trouble)
        return None

    def _check_tools(self, messages: Messages, tools: Tools) -> None:
        """Refuse what a template loses of tools, and what would be special tokens where it writes them.

        Raises:
            UserError: it leaves out a tool, a call, or what is said beside it; or one of them holds a special token.
        """
        written = self.text(messages, tools=tools)
        for message in messages:
            said = self.spoken(message)
            calls = [call["function"]["name"] for call in message.get("tool_calls") or []]
            if lost := [part for part in (message["content"], *calls) if calls and part not in said]:
                raise UserError(
                    f"the template leaves out a call of a tool, or what is said beside it: {lost[0][:60]!r}"
                )
            if calls and (forged := self._split.search(said)):
                raise UserError(f"a call of a tool holds the special token {forged[0]!r}")
        if tools and written == self.text(messages):
            raise UserError("the template leaves out the tools that may be called")
        if forged := self._split.search(json.dumps(list(tools), ensure_ascii=False)):
            raise UserError(f"a tool holds the special token {forged[0]!r}")

    def _parts(
        self, messages: Messages, add_generation_prompt: bool, tools: Tools = ()
    ) -> Iterator[tuple[str, str, str, bool]]:
        """In the text's order: what stands before a content, the content, its role, and whether it is to be predicted.

        What stands behind the last one comes with an empty content and no role.
        """
        prepared = self._prepared(messages)
        roles = tuple(message["role"] for message in prepared)
        try:
            skeleton = self._skeleton(roles, add_generation_prompt, json.dumps(list(tools)) if tools else "")
        except (Differs, TemplateFailure) as trouble:
            raise UserError(
                f"the chat template takes no conversation of {', '.join(roles) or 'nothing'}: {trouble}"
            ) from trouble
        last_question = _last_question(prepared)
        for slot in skeleton.slots:
            message = prepared[slot.number]
            # With calls it is what the template wrote of it: its spaces are gone where they are to go.
            content = self.spoken(message) if message.get("tool_calls") else slot.stripped(message["content"])
            if message["role"] != "assistant":
                yield slot.before, content, message["role"], False
                continue
            written = self._rewritten(content, slot.number, last_question, len(prepared) - 1)
            lost = slot.number < last_question and written != content
            yield slot.before, written, "assistant", not lost and message.get("train") is not False
        yield skeleton.closing, "", "", False

    def _rewritten(self, content: str, number: int, last_question: int, last: int) -> str:
        """An answer with the thoughts that it has at its place in the conversation."""
        if number < last_question:
            return self._thoughts.earlier(content)
        return self._thoughts.latest(content) if number == last else self._thoughts.between(content)

    def _with_calls(self, message: str) -> str:
        """What the template writes of an answer with calls (JSON), between what stands before and behind every answer.

        Raises:
            UserError: it writes something else before or behind it, or takes no calls.
        """
        question, answer = {"role": "user", "content": "What?"}, json.loads(message)
        skeleton = self._skeleton(("user", "assistant"), False)
        before = skeleton.slots[0].before + question["content"] + skeleton.slots[1].before
        try:
            text = self._template.render([question, answer], False)
        except TemplateFailure as failure:
            raise UserError(f"the chat template takes no calls of tools: {failure}") from failure
        if not text.startswith(before) or not text.endswith(skeleton.closing):
            raise UserError("the chat template writes calls of tools otherwise than answers")
        said = text[len(before) : len(text) - len(skeleton.closing)]
        # Empty thoughts are set where the answer is the last one, by its place.
        return said if answer["content"].startswith(EMPTY) else said.removeprefix(EMPTY if self._thoughts.fills else "")

    def _prepared(self, messages: Messages) -> Messages:
        """The messages, checked; a system message that the template does not take stands before the next question."""
        for number, message in enumerate(messages):
            role, content = message.get("role"), message.get("content")
            if role not in (*ROLES, TOOL):
                raise UserError(f"message {number}: unknown role {role!r}; known: {', '.join([*ROLES, TOOL])}")
            if not isinstance(content, str):
                raise UserError(f"message {number} ({role}): content must be text, not {type(content).__name__}")
        roles = [message["role"] for message in messages[:2]]
        if self.takes_system or roles != ["system", "user"]:
            return messages
        both = "\n\n".join(message["content"].strip() for message in messages[:2])
        return [{"role": "user", "content": both}, *messages[2:]]

    def _read_skeleton(self, roles: tuple[str, ...], add_generation_prompt: bool, tools: str = "") -> Skeleton:
        described = json.loads(tools) if tools else []
        return read_skeleton(self._template, roles, add_generation_prompt, self._thoughts.fills, described)

    def _learn_lead(self) -> str:
        """What the template writes between the prompt for an answer and the answer: nothing, or Llama-2's space.

        Raises:
            Differs: an answer does not begin where its prompt ends.
        """
        leads = set()
        for roles in (("user",), ("user", "assistant", "user")):
            prompt, whole = (
                self._skeleton(roles, True).closing,
                self._skeleton((*roles, "assistant"), False).slots[-1].before,
            )
            lead = whole.removeprefix(prompt)
            if not whole.startswith(prompt) or self._split.search(lead):
                raise Differs(f"the prompt for an answer ends in {prompt!r}, but {whole!r} stands before an answer")
            leads.add(lead)
        if len(leads) > 1:
            raise Differs(
                f"the template writes {' or '.join(map(repr, sorted(leads)))} between a prompt and its answer"
            )
        return leads.pop()

    def _learn_ends(self) -> Iterator[str]:
        """The special tokens behind the last answer, and behind one that a question follows.

        Raises:
            Differs: there is none.
        """
        last, earlier = (
            self._skeleton(("user", "assistant"), False),
            self._skeleton(("user", "assistant", "user"), False),
        )
        for behind in (last.closing, earlier.slots[2].before):
            if not (found := self._split.search(behind)):
                raise Differs(f"no special token ends an answer: {behind!r} stands behind it")
            yield found[0]

    def _continued(self, asked: str, said: str) -> tuple[list[int], list[int]]:
        """The ids of plain text with an answer after it: those of the text alone, and those that hold any of the answer."""
        if not said:
            return self._plain(asked), []
        if said.startswith(EMPTY) and self._split.search(EMPTY):  # thoughts stand between special tokens here
            pieces = self._split.split(EMPTY)
            given = [
                [self._special[piece]] if place % 2 else self._plain(piece) for place, piece in enumerate(pieces[:-1])
            ]
            rest = self._plain(pieces[-1] + said[len(EMPTY) :])
            return self._plain(asked), [*(id_ for ids in given for id_ in ids), *rest]
        alone, together = self._plain(asked), self._plain(asked + said)
        border, left = len(alone), len(asked.encode())
        if together[:border] != alone:  # a token holds the end of the one and the beginning of the other
            border = 0
            while border < len(together) and (left := left - len(self._bytes_of(together[border]))) >= 0:
                border += 1
        return together[:border], together[border:]

    def _plain(self, text: str) -> list[int]:
        """The ids of plain text, none of them special; not to be changed, for those of short texts are kept."""
        return self._short(text) if len(text) < SHORT else self._encode_plain(text)

    def _encode_plain(self, text: str) -> list[int]:
        """The ids of plain text, none of them special.

        Unigram tokenizers find pieces by their text alone, `</s>` too: such a find is cut behind its first character.
        """
        if not text:  # some normalizers make a space of it
            return []
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
    # What the template adds is learnt from one conversation and tested on another.
    try:
        template = Template(text, special)
        chat = Chat(template, read_specification(folder), special.get("eos_token"))
        _test(chat, template, parser)
    except (Differs, TemplateFailure) as trouble:
        raise NoChatFormat(f"{folder}: its chat template cannot be used: {trouble}. {REMEDY}") from trouble
    return chat


def uses_tools(messages: Messages, tools: Tools = ()) -> bool:
    """Whether a conversation has tools, calls of them, or their results."""
    return bool(tools) or any(message["role"] == TOOL or message.get("tool_calls") for message in messages)


def _last_question(messages: Messages) -> int:
    """The number of the last message of a user."""
    return max((number for number, one in enumerate(messages) if one.get("role") == "user"), default=0)


def _takes_system(template: Template) -> bool:
    """Whether a template writes system messages, whatever follows.

    Some raise an error and some leave them out, Mistral v0.3's where the last message is an answer: as in training.
    """
    try:
        for roles, is_prompt in ((("system", "user"), True), (("system", "user", "assistant"), False)):
            read_skeleton(template, roles, is_prompt, False)
    except (Differs, TemplateFailure):
        return False
    return True


def _name_of(written: Skeleton, split: re.Pattern[str], template: str) -> str:
    """The name of the format that a template writes."""
    text = "".join(slot.before for slot in written.slots) + written.closing
    tokens = set(split.findall(text))
    for name, (_, *theirs) in FORMATS.items():
        if tokens & set(theirs):
            return name
    if "[INST]" in text:
        return "llama-2" if "<<SYS>>" in template else "mistral"
    return "own"


def _plain_tokenizer(specification: dict[str, Any], tokens: frozenset[str]) -> tokenizers.Tokenizer:
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
    prompts = [[user], [user, assistant, OTHER]]
    if chat.takes_system:
        prompts += [[system, user], [system, OTHER, assistant, user]]
    for messages, is_prompt in [
        *((each, True) for each in prompts),
        *(([*each, assistant], False) for each in prompts),
    ]:
        theirs, ours = template.render(messages, is_prompt), chat.text(messages, is_prompt)
        if theirs != ours:
            raise Differs(_first_difference(theirs, ours))
        their_ids = parser.encode(theirs, add_special_tokens=False).ids
        our_ids, _ = chat.encode(messages, is_prompt)
        if their_ids != our_ids:
            decode = parser.decode
            raise Differs(
                f"{theirs!r} is encoded as {[decode([id_], skip_special_tokens=False) for id_ in their_ids]}, not as "
                f"{[decode([id_], skip_special_tokens=False) for id_ in our_ids]}"
            )


def _first_difference(theirs: str, ours: str) -> str:
    same = 0
    while theirs[same : same + 1] == ours[same : same + 1]:
        same += 1
    place = f"after {theirs[max(same - 40, 0) : same]!r}" if same else "at the beginning"
    return f"{place} the template writes {theirs[same : same + 60]!r}, the format {ours[same : same + 60]!r}"
