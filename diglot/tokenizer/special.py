"""The special tokens of our tokenizers, and of the known chat formats."""

from __future__ import annotations

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


# Chat formats by the tokens that are theirs alone; the first ends a message. How a format writes messages its template says.
FORMATS = {
    "diglot": (END, *ROLES.values()),
    "chatml": ("<|im_end|>", "<|im_start|>"),
    "llama-3": ("<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
    "gemma": ("<end_of_turn>", "<start_of_turn>"),
}
ENDS = tuple(tokens[0] for tokens in FORMATS.values())  # every token that may end an answer, beside the end of text

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
    *(token for tokens in FORMATS.values() for token in tokens),
    *("<|return|>", "<|call|>", "<|start|>", "<|message|>", "<|eom_id|>", "<|eot|>"),
    *(
        "<|START_OF_TURN_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>",
        "<|EOT|>",
        "<|im_sep|>",
        "<|end_of_role|>",
        "<|endofprompt|>",
    ),
)
