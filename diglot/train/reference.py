"""DPO's reference: the log-probabilities that the model gives each answer before the first step, asked for once.

The reference is the model that training begins with, so it need not lie in memory beside the one that is trained (with an
adapter neither: that changes nothing yet). All pairs that the steps will read, and those held out, go through the model
once, in the batches of the training itself; what comes out lies in the run's scratch folder:

    reference/pairs.train.9f86d081884c7d65.npy      float32 [tokens]; named by source, split and the hash of its tokens

NaN stands where nobody asked yet. A run that was killed meanwhile goes on with the first batch that has such a place, and
does that batch again as a whole: the same rows give the same bits. The scratch folder is of one model, one set of tokens
and one sequence length (its name is their fingerprint), so what lies there is never another model's. The runs of a sweep hand the
folder on (sweep.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from diglot.base.files import atomic
from diglot.model.causal import CausalModel
from diglot.recipe.train import Train
from diglot.tokens.order import Order
from diglot.tokens.packing import Batch, Fragments, assemble, counting, heldout_fragments
from diglot.tokens.shards import TokenSource
from diglot.train.mesh import Mesh
from diglot.train.objectives import micro_batches, target_log_probabilities

FOLDER = "reference"


@dataclass(frozen=True)
class Reference:
    """What is asked, and where the answers lie; all processes must take part.

    Attributes:
        model: as it is before the first step.
        mesh: the processes.
        settings: of the stage.
        scratch: the run's folder.
    """

    model: CausalModel
    mesh: Mesh
    settings: Train
    scratch: Path

    def attach(self, source: TokenSource) -> TokenSource:
        """The source with the log-probabilities that are stored for it, all NaN at first."""
        folder = self.scratch / FOLDER
        file = folder / f"{source.name}.{source.split}.{source.content[:16]}.npy"
        if self.mesh.is_first and not file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with atomic(file, durable=True) as unfinished:  # a page that a power cut left out would be zeros, not NaN
                values = np.lib.format.open_memmap(unfinished, "w+", np.float32, (source.num_tokens,))
                values[:] = np.nan
                values.flush()
        self.mesh.barrier()
        return replace(source, reference=np.load(file, mmap_mode="r+", allow_pickle=False))

    @torch.no_grad()
    def fill(self, order: Order, heldout: Mapping[str, TokenSource], report: Callable[[str], None]) -> None:
        """Ask for all that is not stored yet.

        Args:
            order: of the training; its sources are attached.
            heldout: attached sources.
            report: told which batch is being asked about.
        """
        asked = False
        for number, (fragments, sources, num_rows) in enumerate(self._batches(order, heldout), 1):
            if _is_known(fragments, sources):
                continue
            asked = True
            report(f"log-probabilities of the reference, batch {number}")
            batch = assemble(fragments, sources, (num_rows, self.settings.sequence_length))
            _store(self._log_probabilities(batch), fragments, sources)
        if asked:
            self.mesh.rest(self.model)

    def _batches(
        self, order: Order, heldout: Mapping[str, TokenSource]
    ) -> Iterator[tuple[Fragments, Sequence[TokenSource], int]]:
        """What training and evaluations will read: fragments, what their sources are, and the number of rows."""
        settings = self.settings
        for step in range(settings.steps):
            yield order.fragments(step), order.sources, settings.batch_size
        max_tokens = settings.tokens_an_evaluation(len(heldout))
        num_rows = self.mesh.rows_at_a_time(settings) * self.mesh.data_size
        for source in heldout.values():
            for fragments, rows in heldout_fragments(source, max_tokens, settings.sequence_length, num_rows):
                yield fragments, [source], rows

    def _log_probabilities(self, batch: Batch) -> np.ndarray:
        """float32 [B, T]: of the targets of a whole batch, 0 where there is none; the same on all processes."""
        # Each process does its rows in micro-batches, as in training; here a row's source is its number, from 1, so
        # that the rows of padding, which have 0, fall into a row of their own.
        numbered = replace(batch, sources_B=np.arange(1, len(batch.tokens_BT) + 1, dtype=np.int32))
        found_BT = torch.zeros(len(batch.tokens_BT) + 1, batch.tokens_BT.shape[1], device=self.mesh.device)
        at_a_time = self.mesh.rows_at_a_time(self.settings)
        for micro in micro_batches(self.mesh.rows(numbered), at_a_time, self.mesh.device):
            with self.mesh.autocast(self.settings.precision):
                found_BT[micro.sources_B.long()] = target_log_probabilities(self.model, micro)
        return self.mesh.sum(found_BT)[1:].cpu().numpy()


def _is_known(fragments: Fragments, sources: Sequence[TokenSource]) -> bool:
    """Whether all documents are stored, each token of them: a machine that dies may leave any page unwritten."""
    for index in np.unique(fragments.source).tolist():
        source, document = sources[index], fragments.document[fragments.source == index]
        assert source.reference is not None
        lengths = source.lengths_of(document)
        if np.isnan(source.reference[np.repeat(source.offsets[document], lengths) + counting(lengths)]).any():
            return False
    return True


def _store(found_BT: np.ndarray, fragments: Fragments, sources: Sequence[TokenSource]) -> None:
    """Put what was found where the tokens are that it is of: each place of a row predicts the next token."""
    places = (fragments.row, fragments.column, fragments.source, fragments.document, fragments.length)
    for row, column, source, document, length in zip(*(place.tolist() for place in places), strict=True):
        reference, begin = sources[source].reference, int(sources[source].offsets[document])
        assert reference is not None
        reference[begin] = 0  # a document's first token is predicted by nothing
        # All processes write, the same values: whichever comes last, each sees what it wrote itself.
        reference[begin + 1 : begin + length] = found_BT[row, column : column + length - 1]
