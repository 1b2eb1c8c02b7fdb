"""What is encoded: the sources of the stage's inputs, and one document of theirs."""

from __future__ import annotations

from typing import NamedTuple

from diglot.base.artifact import Artifact, Inputs
from diglot.base.errors import UserError
from diglot.base.ledger import read_ledger
from diglot.read.corpus import Split as Folder
from diglot.tokens.shards import Form, Split

SPLITS: dict[Split, Folder] = {"train": "documents", "heldout": "heldout"}  # and the corpus's folder


class Origin(NamedTuple):
    """A source to be encoded, the artifact it is in, and how many documents it has there by split."""

    name: str
    form: Form
    language: str
    domain: str
    artifact: Artifact
    documents: dict[Split, int]


class Encoded(NamedTuple):
    """One document."""

    id: str
    ids: list[int]
    targets: list[int] | None
    bytes: int


def find_sources(inputs: Inputs, wanted: list[str] | None) -> list[Origin]:
    """The sources of all inputs, in the order of roles, artifacts and their ledgers.

    Raises:
        UserError: a name is there twice, or is wanted and not there.
    """
    found: dict[str, Origin] = {}
    roles: tuple[tuple[str, Form], ...] = (("corpus", "text"), ("instructions", "chat"), ("preferences", "pairs"))
    for role, form in roles:
        for artifact in inputs.many(role):
            for name, entry in read_ledger(artifact.path).items():
                if role == "corpus" and not entry["kept"]["documents"] + entry["held_out"]["documents"]:
                    continue  # what is left of a source that was sorted by language
                if role == "preferences" and not entry["kept"]["documents"]:
                    continue  # a source of answers of which a judge made no pair to train on
                if name in found and (wanted is None or name in wanted):
                    raise UserError(
                        f"source {name!r} is in both {found[name].artifact.stage!r} and {artifact.stage!r}; "
                        "mixtures go by name: give one of them another"
                    )
                documents: dict[Split, int] = {
                    "train": entry["kept"]["documents"],
                    "heldout": entry["held_out"]["documents"],
                }
                found[name] = Origin(name, form, entry["language"], entry["domain"], artifact, documents)
    missing = [name for name in wanted or [] if name not in found]
    if missing:
        raise UserError(f"sources: no {', '.join(missing)} in the inputs; there are {', '.join(found)}")
    if not found:
        raise UserError("encode: nothing to encode; give it a corpus, instructions or preferences in `from`")
    return [origin for name, origin in found.items() if wanted is None or name in wanted]
