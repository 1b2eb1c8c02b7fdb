"""The stage import-model: a model from elsewhere, compared with transformers' and rewritten in Diglot's form."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from diglot.base.artifact import Context, Inputs
from diglot.base.summaries.model import ImportedModel, ImportedTokenizer
from diglot.model.families import family_of, read_config_with_notes
from diglot.model.huggingface import describe, find_model, huggingface_names, write_description
from diglot.model.proof import prove
from diglot.model.weights import StoredWeights, write_weights
from diglot.recipe.model import ImportModel
from diglot.tokenizer.export import write_for_transformers
from diglot.tokenizer.folder import bytes_without_token, load_tokenizer


def run(settings: ImportModel, inputs: Inputs, output: Path, context: Context) -> ImportedModel:
    """Take in a model folder or a model of the Hugging Face hub, checked and rewritten in Diglot's form.

    The weights stream through, one tensor at a time, after their logits were compared with transformers'.

    Raises:
        UserError: the folder is absent or the hub unreachable, or the model is not one that Diglot trains, or logits
            differ from transformers'.
    """
    folder = find_model(settings.path)
    (config, ignored), weights = read_config_with_notes(folder), StoredWeights(folder)
    names, shapes = huggingface_names(folder, config, weights), weights.shapes()
    context.progress(0, len(names), "tensors", "comparing logits with transformers'")
    loaded = load_tokenizer(folder)
    config, proof = prove(folder, config, loaded)
    dtype = shapes[names[family_of(config).embedding_names(config)[0]]].dtype
    write_description(config, dtype, output, folder)
    tokenizer = write_for_transformers(folder, output)
    done = 0

    def stored(name: str) -> Tensor:
        nonlocal done
        done += 1
        context.progress(done, len(names), "tensors", name)
        return weights.tensor(names[name])

    write_weights(output, {name: shapes[own] for name, own in names.items()}, stored)
    return ImportedModel(
        **describe(config),
        dtype=str(dtype).removeprefix("torch."),
        tokenizer=ImportedTokenizer(*tokenizer, bytes_without_token(loaded)),
        weights_passed_over=weights.passed_over,
        keys_passed_over=ignored,
        proof=proof,
    )
