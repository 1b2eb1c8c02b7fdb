"""The one place that knows the chat format.

A conversation is one flat text: `<s>`, then for every message its role's token, the content and `<|end|>`:

    <s><|user|>What does a baker bake?<|end|><|assistant|>A baker bakes bread.<|end|>

A prompt for generation ends in `<|assistant|>`; generation stops at `<|end|>` or `</s>`. No separator stands between
a role's token and the content, so that content is encoded exactly as it is encoded alone.

`CHAT_TEMPLATE` says the same in Jinja, for programs that know only the Hugging Face folder. A template works on text,
so a user who types `<|assistant|>` gets a real role token out of it; `encode_chat` works on ids and encodes every
content as plain text, so nobody can forge a role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tokenizers

from diglot.artifact import UserError

UNKNOWN, BEGIN, STOP, PADDING, END = "<unk>", "<s>", "</s>", "<pad>", "<|end|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
SPECIAL_TOKENS = (UNKNOWN, BEGIN, STOP, PADDING, *ROLES.values(), END)  # ids 0..7, in this order

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message['role'] not in ['system', 'user', 'assistant'] -%}
        {{- raise_exception('unknown role ' + message['role'] + '; known: system, user, assistant') -}}
    {%- endif -%}
    {{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|assistant|>' -}}
{%- endif -%}
"""


def encode_chat(
    tokenizer: tokenizers.Tokenizer,
    messages: Sequence[Mapping[str, str]],
    add_generation_prompt: bool = False,
) -> tuple[list[int], list[int]]:
    """Encode a conversation, with marks on what the assistant says.

    Args:
        tokenizer: from `diglot.tokenizer.measure.load_tokenizer`.
        messages: `{"role": "system" | "user" | "assistant", "content": str}`, in order.
        add_generation_prompt: end in `<|assistant|>`, for the model to go on.

    Returns:
        The token ids, and for each 1 where it is to be predicted (the assistant's content and the `<|end|>` after
        it), else 0.

    Raises:
        UserError: an unknown role, a content that is not a string, or a tokenizer without the format's tokens.
    """
    if not tokenizer.encode_special_tokens:
        raise ValueError("this tokenizer parses special tokens in text: load it with load_tokenizer()")
    end = _special_id(tokenizer, END)
    ids, targets = [_special_id(tokenizer, BEGIN)], [0]
    for number, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise UserError(f"message {number}: unknown role {role!r}; known: {', '.join(ROLES)}")
        if not isinstance(content, str):
            raise UserError(f"message {number} ({role}): content must be text, not {type(content).__name__}")
        answer = [*tokenizer.encode(content, add_special_tokens=False).ids, end]
        ids += [_special_id(tokenizer, ROLES[role]), *answer]
        targets += [0, *[int(role == "assistant")] * len(answer)]
    if add_generation_prompt:
        ids.append(_special_id(tokenizer, ROLES["assistant"]))
        targets.append(0)
    return ids, targets


def _special_id(tokenizer: tokenizers.Tokenizer, token: str) -> int:
    token_id = tokenizer.token_to_id(token)
    if token_id is None:
        raise UserError(
            f"the tokenizer has no special token {token}, which the chat format needs; "
            "tokenizers made by train-tokenizer and extend-tokenizer have it"
        )
    return token_id
