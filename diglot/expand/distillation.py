"""Token Distillation: new rows learn to act as the old tokens that they replace (Dobler, Elliott & de Melo 2025).

The model reads a snippet of the corpus twice, as teacher in old tokens and as student in new ones:

    teacher   ▁the  ▁lib  ra  ry  ▁of            hidden states where a token of the student ends:  ▁the  ry  ▁of
    student   ▁the  ▁library  ▁of                hidden states:                                   ▁the  ▁library  ▁of

The loss is the mean squared error between the two, over all tokens of the student: before the first new token both
are equal, at the new token and behind it the new row decides. Only new rows of the embedding are trained, from the
mean of their sub-tokens. Rows of an untied output never enter these hidden states: they learn to predict the next
token (cross-entropy), with nothing else moving. AdamW without weight decay at a constant rate, one pass over the
snippets, BOS in front of each, as in the authors' code.

Where we differ from it: a snippet counts for every new token in it (theirs are collected token by token), a token
gets at most one snippet of a document, and a token with few snippets learns from those instead of being left out.

The spelling of a new token stands for how the old tokenizer cuts it in context. That is exact for extensions that
continue the base's merges, because all merges of the base come first.

As in training, equal threads give equal bytes; another number of threads may change the last bits.

Legend: B snippets, T tokens of the student, U tokens of the teacher, D hidden size, N rows that are trained, K old rows,
V entries of the new tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from diglot.base.artifact import Progress
from diglot.base.errors import UserError
from diglot.expand.initialization import Alignment, expand_rows, sub_token_weights
from diglot.model.decoder import Decoder
from diglot.recipe.expand import Distillation

BARRIER = 10**6  # length of a token that no snippet may hold: the teacher cannot read it


# --- snippets -------------------------------------------------------------------------------------------------


@dataclass
class Snippets:
    """Stretches of text in ids of the new tokenizer.

    Attributes:
        texts: the ids of each.
        seen_V: how many snippets hold each token.
    """

    texts: list[NDArray[np.int32]]
    seen_V: NDArray[np.int64]


def collect(
    sample: Iterable[NDArray[np.int64]],
    alignment: Alignment,
    vocabulary_size: int,
    settings: Distillation,
    progress: Progress,
) -> Snippets:
    """Snippets with every new token in the middle of some, as many as the settings ask for and the text holds.

    Where that is more than the steps can read, every token gives up its last ones. Never more than twice what the
    steps read is held.
    """
    # How many old tokens an id stands for: a window is full when the teacher's tokens are, not ours.
    lengths_V = np.ones(vocabulary_size, dtype=np.int64)
    lengths_V[[*alignment.special, *alignment.unspelled]] = BARRIER
    for new_id, spelling in alignment.sub_tokens.items():
        lengths_V[new_id] = len(spelling)
    wanted_V = np.zeros(vocabulary_size, dtype=bool)
    wanted_V[list(alignment.sub_tokens)] = True
    room = settings.max_steps * settings.batch_size
    seen_V = np.zeros(vocabulary_size, dtype=np.int64)
    found: list[tuple[int, NDArray[np.int32]]] = []  # the how-many-eth of its token, and the snippet
    for done, ids in enumerate(sample, 1):
        missing = wanted_V & (seen_V < settings.snippets)
        for middle, begin, end in windows(ids, lengths_V, missing, settings.tokens):
            found.append((int(seen_V[ids[middle]]), ids[begin:end].astype(np.int32)))
            held = np.unique(ids[begin:end])
            seen_V[held[wanted_V[held]]] += 1
        if len(found) > 2 * room:
            found = _first_of_each(found, room)
        if done % 1000 == 0:
            progress(done, None, "documents", f"{len(found):,} snippets")
            if not missing.any():
                break
    texts = [text for _, text in _first_of_each(found, room)]
    # Counted anew: some of the snippets above were given up, and a token learns only from what is read.
    seen_V[:] = 0
    for text in texts:
        held = np.unique(text)
        seen_V[held[wanted_V[held]]] += 1
    return Snippets(texts, seen_V)


def windows(
    ids: NDArray[np.int64], lengths_V: NDArray[np.int64], missing_V: NDArray[np.bool_], size: int
) -> list[tuple[int, int, int]]:
    """Where a document's snippets lie: (the token in the middle, begin, end), one a missing token at most.

    Args:
        ids: the document.
        lengths_V: old tokens that each token stands for.
        missing_V: tokens that want snippets.
        size: old tokens of a snippet at most.
    """
    tokens, first = np.unique(ids, return_index=True)
    starts = np.concatenate([[0], np.cumsum(lengths_V[ids])])
    taken: set[int] = set()
    found = []
    for middle in sorted(first[missing_V[tokens]].tolist()):
        length = int(lengths_V[ids[middle]])
        if length > size or int(ids[middle]) in taken:
            continue
        before = starts[middle] - (size - length) // 2
        begin = int(np.searchsorted(starts, before, side="left"))
        end = int(np.searchsorted(starts, starts[begin] + size, side="right")) - 1
        taken.update(ids[begin:end].tolist())
        found.append((middle, begin, end))
    return found


def _first_of_each(found: list[tuple[int, NDArray[np.int32]]], room: int) -> list[tuple[int, NDArray[np.int32]]]:
    """The first snippets of all tokens, then the second ones, and so on, as many as there is room for."""
    return sorted(found, key=lambda snippet: snippet[0])[:room]


# --- training -------------------------------------------------------------------------------------------------


class GrownEmbedding(nn.Module):
    """An embedding whose last rows are trained and whose first ones are not."""

    def __init__(self, old_KD: Tensor, new_ND: nn.Parameter) -> None:
        super().__init__()
        self.old_KD, self.new_ND = old_KD, new_ND

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of ids; those from K on are new."""
        size = len(self.old_KD)
        old = F.embedding(ids.clamp(max=size - 1), self.old_KD)
        new = F.embedding((ids - size).clamp(min=0), self.new_ND)
        return torch.where((ids < size)[..., None], old, new)


def distil(
    decoder: Decoder,
    alignment: Alignment,
    snippets: Snippets,
    bos: int | None,
    settings: Distillation,
    seed: int,
    progress: Progress,
) -> tuple[dict[str, dict[int, Tensor]], list[float]]:
    """Train the rows of the new tokens that the snippets show.

    Args:
        decoder: the old model; left as it was, but for its embedding module.
        alignment: how the tokenizers' ids belong together.
        snippets: in ids of the new tokenizer.
        bos: the old id that begins a text, or None.
        settings: rate, batch and the rest.
        seed: of the order of the snippets.
        progress: told the step and the loss.

    Returns:
        New rows (D, float32) by new id, of "embedding" and, where it is untied, of "output"; and the loss of each step.

    Raises:
        UserError: no snippet holds a new token that can be learnt.
    """
    trained = [id for id in alignment.sub_tokens if snippets.seen_V[id]]
    if not trained:
        raise UserError(
            "initialization distillation: the corpus shows none of the new tokens that the old tokenizer can spell; "
            "give text in the new language, or another initialization"
        )
    old_KD = decoder.embedding.weight.detach()
    reader = Reader(alignment, trained, len(old_KD), bos, len(snippets.seen_V))
    # The old model is the teacher and the body of the student: only the new rows move.
    decoder.requires_grad_(False)
    embedding_ND = nn.Parameter(_means(old_KD, alignment, trained))
    decoder.embedding = GrownEmbedding(old_KD, embedding_ND)  # type: ignore[assignment]
    parameters = [embedding_ND]
    if decoder.head is not None:
        parameters.append(nn.Parameter(_means(decoder.head.weight.detach(), alignment, trained)))
    # No decay: a row that few snippets show would shrink between them.
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
    order = np.random.default_rng(seed).permutation(len(snippets.texts))
    starts = range(0, len(order), settings.batch_size)
    losses = []
    for step, start in enumerate(starts, 1):
        texts = [snippets.texts[place] for place in order[start : start + settings.batch_size]]
        optimizer.zero_grad(set_to_none=True)
        loss = _loss(decoder, reader.read(texts, old_KD.device), parameters)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        progress(step, len(starts), "steps", f"distillation loss {losses[-1]:.4f}")
    rows = {
        name: dict(zip(trained, parameter.detach().cpu()))
        for name, parameter in zip(("embedding", "output"), parameters)
    }
    return rows, losses


def _means(old_KD: Tensor, alignment: Alignment, trained: list[int]) -> Tensor:
    """The rows to begin with, float32 [N, D]."""
    rows = max(new for new in [*trained, *(new for _, new in alignment.kept)]) + 1
    chosen = Alignment(alignment.kept, {id: alignment.sub_tokens[id] for id in trained}, [], [])
    means = expand_rows(old_KD.cpu().float(), chosen, rows, 0, sub_token_weights(chosen))
    return means[torch.tensor(trained)].to(old_KD.device)


@dataclass
class Reading:
    """A batch of snippets: as the student and as the teacher read it, and where their tokens end together."""

    student_BT: Tensor
    teacher_BU: Tensor
    ends_BT: Tensor  # place in the teacher's tokens of the end of each of the student's
    real_BT: Tensor  # neither BOS nor padding


class Reader:
    """Turns snippets into ids of old rows (below K) and of trained rows (from K on)."""

    def __init__(
        self, alignment: Alignment, trained: Sequence[int], rows: int, bos: int | None, vocabulary_size: int
    ) -> None:
        self.bos = bos
        self.student_V = np.full(vocabulary_size, -1, dtype=np.int64)
        self.spelling: dict[int, list[int]] = {new: [old] for old, new in alignment.kept}
        for old, new in alignment.kept:
            self.student_V[new] = old
        for number, new in enumerate(trained):
            self.student_V[new], self.spelling[new] = rows + number, alignment.sub_tokens[new]

    def read(self, texts: Sequence[NDArray[np.int32]], device: torch.device) -> Reading:
        """A batch, padded on the right."""
        first = [] if self.bos is None else [self.bos]
        spelled = [[self.spelling[id] for id in text.tolist()] for text in texts]
        students = [[*first, *self.student_V[text].tolist()] for text in texts]
        teachers = [[*first, *(piece for word in words for piece in word)] for words in spelled]
        ends = [np.cumsum([*(1 for _ in first), *map(len, words)]) - 1 for words in spelled]
        width = max(map(len, students))
        real = torch.zeros(len(texts), width, dtype=torch.bool)
        for row, student in enumerate(students):
            real[row, len(first) : len(student)] = True
        return Reading(
            _padded(students, width).to(device),
            _padded(teachers, max(map(len, teachers))).to(device),
            _padded([end.tolist() for end in ends], width).to(device),
            real.to(device),
        )


def _padded(rows: list[list[int]], width: int) -> Tensor:
    """Rows of one width; what is padded is never read: attention looks back only."""
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=torch.int64)


def _loss(decoder: Decoder, batch: Reading, parameters: list[nn.Parameter]) -> Tensor:
    """Mean squared error of hidden states; with an untied output also the cross-entropy of the next token."""
    with torch.no_grad():
        teacher_BUD = decoder(batch.teacher_BU)
    target_BTD = teacher_BUD.gather(1, batch.ends_BT[..., None].expand(-1, -1, teacher_BUD.shape[-1]))
    hidden_BTD = decoder(batch.student_BT)
    loss = F.mse_loss(hidden_BTD[batch.real_BT], target_BTD[batch.real_BT])
    if decoder.head is None:
        return loss
    follows_BT = batch.real_BT[:, 1:]
    hidden_ND = hidden_BTD[:, :-1][follows_BT].detach()
    logits = torch.cat([hidden_ND @ decoder.head.weight.T, hidden_ND @ parameters[1].T], dim=1)
    return loss + F.cross_entropy(logits, batch.student_BT[:, 1:][follows_BT])
