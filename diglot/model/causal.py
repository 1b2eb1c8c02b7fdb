"""What the stages ask of a model, whichever family it is of: our own decoder, or a module of transformers' (foreign.py).

Legend: B rows, T tokens of a row, D hidden size, V rows of the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from diglot.base.errors import UserError
from diglot.model.attention import DocumentLayout
from diglot.model.context import RowCut


@dataclass(frozen=True)
class ModelConfig:
    """The sizes that every model has, in rows, units or tokens.

    Attributes:
        vocabulary_size: rows of the embedding, padding rows included.
        max_positions: longest document that the model is made for.
        head_size: size of one head; num_heads × head_size need not be hidden_size (Qwen3).
        tied_embeddings: the output weight is the embedding.
    """

    vocabulary_size: int
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_key_value_heads: int
    head_size: int
    max_positions: int
    tied_embeddings: bool


class CausalModel(nn.Module):
    """A causal language model without its logits: tokens, positions and documents (BT each) go in, hidden_BTD come out.

    Attributes:
        config: its sizes.
        embedding: of tokens.
        head: whose weight gives the logits; None if that is the embedding's.
        layers: what is sharded, frozen and computed again one by one.
        soft_cap: of the logits, where there is one (see `cross_entropy`).
        row_cut: context parallel: which tokens of a row lie on this process.
    """

    config: ModelConfig
    embedding: nn.Embedding
    head: nn.Linear | None
    layers: nn.ModuleList
    soft_cap: float | None = None
    row_cut: RowCut | None = None

    def find_documents(self, tokens_BT: Tensor, documents_BT: Tensor | None) -> tuple[DocumentLayout | None, int]:
        """The documents of a batch, None if every row is one, and the tokens of the longest.

        Raises:
            UserError: a document is longer than the model's max_positions.
        """
        layout, longest = None, tokens_BT.shape[1]
        if documents_BT is not None:
            layout = DocumentLayout.of(documents_BT, self.row_cut, tokens_BT.device)
            longest = layout.longest
        if longest > self.config.max_positions:
            raise UserError(
                f"a document of {longest} tokens is longer than the model's max_positions "
                f"({self.config.max_positions}); lower sequence_length"
            )
        return layout, longest

    def output_weight(self) -> Tensor:
        """The weight (VD) that turns hidden states into logits: the embedding if tied, else the head."""
        return self.embedding.weight if self.head is None else self.head.weight
