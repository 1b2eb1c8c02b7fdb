"""What docs/walk.md tells of a document at each stop: caught when the functions return, written in their order."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIGNALS = ("words", "mean_word_length", "stop_words", "unique_words", "unigram_entropy", "top_2gram")
SHOWN = 12  # tokens of a row


class Stops:
    """The stops of one document.

    Attributes:
        followed: its id.
        lines: the page's, once they are told.
    """

    def __init__(self, followed: str, run: Path):
        self.followed, self.run = followed, run
        self.caught: dict[str, dict[str, Any]] = {}
        self.lines: list[str] = []

    def watched(self) -> dict[str, Callable[[Any, Any], None]]:
        """What to call at the return of which function."""
        steps = ("clean", "identify", "drop_repeated_lines", "measure", "judge", "sign")
        return {
            **{f"curate/steps.py:{step}": self._step(step) for step in steps},
            "tokens/order.py:Order.batch": self._batch,
            "model/decoder.py:Decoder.forward": self._hidden,
            "train/objectives.py:language_modelling": self._loss,
        }

    def _step(self, step: str) -> Callable[[Any, Any], None]:
        def catch(frame: Any, documents: Any) -> None:
            ids = documents.ids.to_pylist()
            if self.followed not in ids:
                return
            row = ids.index(self.followed)
            self.caught[step] = {
                "documents": len(ids),
                "text": documents.texts[0][row].as_py(),
                "characters": int(documents.characters[row]),
                "taken": int(documents.taken[row].sum()),
                "signals": {name: float(documents.signal(name)[row]) for name in (*SIGNALS, "language_confidence")},
                "rules": len(documents.reasons),
                "reason": documents.reasons[documents.reason[row]] if documents.reason[row] >= 0 else "none",
                "hash": int(documents.hashes[row]),
                "signature": documents.signatures[row][:6].tolist(),
            }

        return catch

    def _batch(self, frame: Any, batch: Any) -> None:
        order = frame.f_locals["self"]
        fragments = order.fragments(0)
        numbers = [place for place, source in enumerate(order.documents(0)) if source[1] == self.followed]
        row, column = int(fragments.row[numbers[0]]), int(fragments.column[numbers[0]])
        until = min(column + SHOWN, batch.tokens_BT.shape[1])
        self.caught["batch"] = {
            "shape": batch.tokens_BT.shape,
            "row": row,
            "column": column,
            **{name: getattr(batch, f"{name}_BT")[row, column:until].tolist()
               for name in ("tokens", "targets", "positions", "documents")},
        }  # fmt: skip

    def _hidden(self, frame: Any, hidden: Any) -> None:
        import torch

        decoder, place = frame.f_locals["self"], self.caught["batch"]
        if "hidden" in self.caught or place["row"] >= len(hidden):
            return
        vector = hidden[place["row"], place["column"] + 4].detach().float()
        logits = decoder.output_weight().detach().float() @ vector
        best = torch.topk(logits, 3)
        self.caught["hidden"] = {
            "shape": tuple(hidden.shape),
            "vector": vector[:5].tolist(),
            "logits": len(logits),
            "best": list(zip(best.indices.tolist(), best.values.tolist(), strict=True)),
        }

    def _loss(self, frame: Any, outcome: Any) -> None:
        predicted = int(outcome.units_S.sum())
        self.caught["loss"] = {"predicted": predicted, "loss": float(outcome.loss.detach()) / predicted}

    def stop(self, place: str, what: str, *values: str) -> None:
        """Adds a stop: where it is, what happens there, and the values."""
        self.lines += [f"**`{place}`** – {what}", "", "```", *values, "```", ""]

    def tell(self) -> None:
        """Writes the stops, in their order.

        Raises:
            SystemExit: a function that was to be watched did not run.
        """
        missing = {*("clean", "identify", "measure", "judge", "sign", "batch", "hidden", "loss")} - self.caught.keys()
        if missing:
            raise SystemExit(
                f"make_walk: {', '.join(sorted(missing))} did not run; are they renamed? See walk_stops.py"
            )
        self._tell_curation()
        self._tell_corpus()
        self._tell_tokens()
        self._tell_training()

    def _tell_curation(self) -> None:
        raw = next(
            line for line in (self.run / "world" / "text" / "en.jsonl").read_text("utf-8").split("\n")
            if json.loads(line)["id"] == self.followed
        )  # fmt: skip
        clean, signals, judged, signed = (self.caught[step] for step in ("clean", "measure", "judge", "sign"))
        self.lines += ["## From a raw file to a corpus: `curate`", ""]
        self.stop("read/records.py: parse_json", "a line of the file becomes a record", *_cut(raw))
        self.stop(
            "curate/steps.py: clean",
            f"lines are corrected; the document is now a row of a batch of {clean['documents']} (`Documents`)",
            *_cut(clean["text"]), f"{clean['characters']} characters as read, {clean['taken']} of them taken out",
        )  # fmt: skip
        confidence = self.caught["identify"]["signals"]["language_confidence"]
        self.stop("curate/steps.py: identify", "its language", f"English, confidence {confidence:.3f}")
        if repeated := self.caught.get("drop_repeated_lines"):
            taken = repeated["taken"] - clean["taken"]
            self.stop("curate/steps.py: drop_repeated_lines", "lines that are found all over the corpus go",
                      f"{taken} characters taken out")  # fmt: skip
        self.stop("curate/steps.py: measure", "some of its signals",
                  *(f"{name:<20}{signals['signals'][name]:.4g}" for name in SIGNALS))  # fmt: skip
        self.stop("curate/steps.py: judge", f"{judged['rules']} reasons to drop it are asked in order",
                  f"reason: {judged['reason']}")  # fmt: skip
        self.stop("curate/steps.py: sign", "its hash, for equal texts, and the beginning of its MinHash signature",
                  f"{signed['hash']:#018x}", f"{signed['signature']} …")  # fmt: skip

    def _tell_corpus(self) -> None:
        import pyarrow.parquet as pq

        for file in sorted((self.run / "corpus" / "documents").glob("english-*.parquet")):
            table = pq.read_table(file)
            ids = table["id"].to_pylist()
            if self.followed in ids:
                row = table.slice(ids.index(self.followed), 1).to_pylist()[0]
                names = ("id", "language", "domain", "source", "cluster_size", "text")
                self.stop("curate/dedup/decide.py: decide", "compared with all others in its language, out of core",
                          "kept" + ("" if row["cluster_size"] == 1 else f", the first of {row['cluster_size']}"))  # fmt: skip
                self.stop("curate/write.py: write_documents", f"a row of {file.name}, {len(row)} columns",
                          *(f"{name:<14}{_cut(str(row[name]), 1)[0]}" for name in names))  # fmt: skip

    def _tell_tokens(self) -> None:
        import tokenizers

        from diglot.tokens.shards import open_tokens

        self.library = tokenizers.Tokenizer.from_file(str(self.run / "tokenizer" / "tokenizer.json"))
        source = open_tokens([self.run / "tokens"], None)["english"]
        number = source.find_documents(self.followed)[0]
        start, end = int(source.offsets[number]), int(source.offsets[number + 1])
        ids = source.tokens[start : start + SHOWN].tolist()
        self.lines += ["## From a corpus to tokens: `encode`", ""]
        self.stop("encode/encoder.py: Encoder.encode_array", "its text becomes ids", *self._pieces(ids))
        self.stop("encode/stage.py: ShardWriter.append_texts", f"document {number} of english.train.tokens.npy",
                  f"tokens[{start}:{end}], {end - start} of {len(source.tokens):,}")  # fmt: skip

    def _pieces(self, ids: list[int]) -> list[str]:
        return [f"{ids} …", " ".join(self.library.id_to_token(number) or "?" for number in ids) + " …"]

    def _tell_training(self) -> None:
        batch, hidden, loss = (self.caught[name] for name in ("batch", "hidden", "loss"))
        rows, length = batch["shape"]
        self.lines += ["## From tokens to logits: `train`", ""]
        self.stop("tokens/order.py: Order.batch", f"step 0 reads {rows} rows of {length} tokens; the document begins in "
                  f"row {batch['row']}, place {batch['column']}",
                  *(f"{name:<11}{batch[name]} …" for name in ("tokens", "targets", "positions", "documents")))  # fmt: skip
        self.stop("model/decoder.py: Decoder.forward", f"hidden states of shape {hidden['shape']}; at the document's fifth "
                  "token", f"[{', '.join(f'{value:.2f}' for value in hidden['vector'])}, …]")  # fmt: skip
        guesses = (f"{self.library.id_to_token(number)} {value:.2f}" for number, value in hidden["best"])
        expected = self.library.id_to_token(batch["targets"][4]) if batch["targets"][4] >= 0 else "nothing"
        self.stop("model/loss.py: cross_entropy", f"the highest of {hidden['logits']:,} logits there (the loss needs no more "
                  "than a part of them at a time); what comes next is " + f"`{expected}`",
                  " · ".join(guesses),
                  f"loss of the first rows: {loss['loss']:.2f} nats a token, over {loss['predicted']} tokens")  # fmt: skip


def _cut(text: str, lines: int = 3) -> list[str]:
    """The beginning of a text, in lines of a page's width."""
    width = 116
    shown = text.replace("\n", "⏎")
    parts = [shown[place : place + width] for place in range(0, len(shown), width)]
    return parts if len(parts) <= lines else [*parts[: lines - 1], parts[lines - 1][: width - 2] + " …"]
