"""The special tokens of our tokenizers, and how the known chat formats write messages (`chat.py` finds out which it is)."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class ChatFormat:
    """How messages are written.

    Attributes:
        name: `diglot`, `chatml` or `llama-3`.
        before: by role, what stands before a message.
        end: the token that ends a message.
        after: what stands between that token and the next message.
        tokens: the special tokens of the format.
    """

    name: str
    before: dict[str, str]
    end: str
    after: str
    tokens: tuple[str, ...]


FORMATS = (
    ChatFormat("diglot", ROLES, END, "", (*ROLES.values(), END)),
    ChatFormat(
        "chatml", {role: f"<|im_start|>{role}\n" for role in ROLES}, "<|im_end|>", "\n", ("<|im_start|>", "<|im_end|>")
    ),
    ChatFormat(
        "llama-3",
        {role: f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ROLES},
        "<|eot_id|>",
        "",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
)


ENDS = tuple(chat_format.end for chat_format in FORMATS)  # every token that may end an answer

# Names of tokens that begin and end a document in published models, and of those that begin and end a message: which is
# which cannot be seen otherwise, as tokenizers of chat models name either as bos and eos.
TEXT_STARTS = (
    "<|begin_of_text|>",
    "<bos>",
    "<|startoftext|>",
    "<｜begin▁of▁sentence｜>",
    "<BOS_TOKEN>",
    "[BOS]",
    BEGIN,
)
TEXT_ENDS = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    "<EOS_TOKEN>",
    "[EOS]",
    "<|eos|>",
    STOP,
)
TURNS = (
    *(token for chat_format in FORMATS for token in chat_format.tokens),
    *(
        "<start_of_turn>",
        "<end_of_turn>",
        "<|return|>",
        "<|call|>",
        "<|start|>",
        "<|message|>",
        "<|eom_id|>",
        "<|eot|>",
    ),
    *(
        "<|START_OF_TURN_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>",
        "<|EOT|>",
        "<|im_sep|>",
        "<|end_of_role|>",
        "<|endofprompt|>",
    ),
)
