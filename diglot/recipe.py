"""The recipe: one YAML file that describes the whole road, checked strictly before anything runs.

    name: my-road
    seed: 1
    stages:
      corpus:    {do: curate, sources: {english: {path: "text/en/*.jsonl", language: en}}}
      tokenizer: {do: train-tokenizer, from: {corpus: corpus}, vocabulary_size: 4000}

Every kind of stage is one class below: its fields are the stage's settings (in recipes, in the JSON Schema for
editors, and as options of the stage's own command), and its class variables say which artifacts it reads, which
it makes, and which function does the work. `version` is the code version in the fingerprint: raise it when a
change makes the same settings give another result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Union, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diglot.artifact import UserError


class Role(NamedTuple):
    """One input of a stage: the kinds of artifact it accepts, and how many."""

    kinds: tuple[str, ...]
    required: bool = True
    many: bool = False


class Settings(BaseModel):
    """Base of all settings: unknown keys and wrong types are errors."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, populate_by_name=True, allow_inf_nan=False
    )


Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z]+)?$", description="ISO 639 code, such as ar")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Stage(Settings):
    """What all stages share. Subclasses add the settings of one kind of stage."""

    makes: ClassVar[str]
    reads: ClassVar[dict[str, Role]] = {}
    function: ClassVar[str]
    version: ClassVar[int] = 1
    extra: ClassVar[str | None] = None
    neutral: ClassVar[frozenset[str]] = frozenset()  # settings that do not change the result
    reads_everything: ClassVar[bool] = False  # without `from`, it reads all other stages

    do: str
    from_: dict[str, str | list[str]] | list[str] | str = Field(
        default_factory=dict,
        alias="from",
        description="The stages whose artifacts this stage reads, by role; a plain name where there is one role.",
    )

    def reads_from(self) -> dict[str, list[str]]:
        """The stages read, by role.

        Raises:
            UserError: roles are left out although the stage has several.
        """
        given = self.from_
        if not isinstance(given, dict):
            if len(self.reads) != 1:
                raise UserError(
                    f"from: name the role of each input: {', '.join(self.reads) or 'it reads none'}"
                )
            given = {next(iter(self.reads)): given}
        return {role: [names] if isinstance(names, str) else list(names) for role, names in given.items()}

    def settings(self) -> dict[str, Any]:
        """The stage's own settings, for the manifest."""
        return self.model_dump(mode="json", exclude={"do", "from_"})

    def semantic(self) -> dict[str, Any]:
        """The settings that make the result, for the fingerprint."""
        return {key: value for key, value in self.settings().items() if key not in self.neutral}

    def outside_paths(self) -> dict[tuple, str]:
        """Files, folders, globs and URLs read from outside the run, by the settings' key that names them."""
        return {}


# --- raw data -------------------------------------------------------------------------------------------------


class Source(Settings):
    """Raw data with a language and a domain. Paths may be files, folders, globs, or URLs (`hf://…`, `s3://…`)."""

    path: str | list[str] = Field(
        description="JSONL (.gz, .zst), Parquet or text: files, folders, globs or URLs; relative to the working "
        "folder, or to the artifact in `from` where the stage has one."
    )
    language: Language
    domain: str = Field("web", description="web, books, wiki, news, science, code, math, parallel, …")
    origin: Literal["natural", "translated"] = "natural"
    text: str | None = Field(
        None, description="The field that holds the text: `text`, or `src` for parallel data."
    )
    target_language: Language | None = Field(
        None, description="Parallel data: the records are pairs, written out as bilingual documents."
    )
    target_text: str = Field(
        "tgt", description="Parallel data: the field that holds the text in target_language."
    )
    limit: Count | None = Field(None, description="Read at most this many records.")


def _source_paths(stage: Any) -> dict[tuple, str]:
    """The paths of a stage's sources; with `from` they lie inside an artifact, unless absolute or URLs."""
    given: dict[tuple, str] = {}
    for name, source in stage.sources.items():
        for key in ("path", "held_out_path"):
            paths = getattr(source, key, None) or []
            if isinstance(paths, str):
                given[("sources", name, key)] = paths
            else:
                given.update({("sources", name, key, index): path for index, path in enumerate(paths)})
    return {
        key: path
        for key, path in given.items()
        if not stage.from_ or path.startswith(("/", "~")) or "://" in path
    }


class World(Stage):
    """Generate a small invented world, with known truth, in English, Arabic and Indonesian."""

    makes: ClassVar[str] = "text"
    function: ClassVar[str] = "diglot.world.generate:run"

    do: Literal["world"] = "world"
    seed: int = 0
    languages: list[Literal["en", "ar", "id"]] = Field(
        ["en", "ar"], description="The first is the base language."
    )
    people: Count = 400
    documents: dict[str, Count] = Field({"en": 12000, "ar": 12000}, description="Documents by language.")
    pairs: int = Field(
        12000, ge=0, description="Parallel sentences by pair of languages (base language, other)."
    )
    instructions: int = Field(4000, ge=0, description="Instructions by language.")
    preferences: int = Field(1500, ge=0, description="Preference pairs by language.")
    items: int = Field(200, ge=0, description="Test items by task and language.")
    faults: Share = Field(0.15, description="Share of documents with a labelled fault.")


# --- corpus ---------------------------------------------------------------------------------------------------


class Rules(Settings):
    """Thresholds on signals; a document outside any of them is dropped, counted under the rule's name.

    Defaults are Gopher's quality and repetition limits as PolyLM 3.1 uses them, and the annotations on ALLaM's
    filtering slide that make sense for any language. A value of null switches a rule off.
    """

    min_characters: int | None = Field(150, description="ccnet_length; ALLaM, filtering slide.")
    min_words: int | None = Field(30, description="Gopher has 50; short languages and chat need less.")
    max_words: int | None = Field(100_000, description="Gopher, table A1.")
    min_mean_word_length: float | None = Field(2.5, description="Gopher has 3; Arabic words are shorter.")
    max_mean_word_length: float | None = Field(
        12.0, description="Gopher has 10; Indonesian and German run longer."
    )
    max_symbol_to_word: float | None = Field(0.1, description="Gopher; PolyLM 3.1 step 2.")
    max_bullet_lines: float | None = Field(0.9, description="Gopher.")
    max_ellipsis_lines: float | None = Field(0.3, description="Gopher; ALLaM's slide has 0.8.")
    min_alphabetic_words: float | None = Field(0.6, description="Gopher has 0.8 for English.")
    max_digits: float | None = Field(
        0.3, description="Share of characters that are digits; PolyLM 3.1 step 2."
    )
    max_invisible: float | None = Field(
        0.05, description="Share of invisible and broken characters; PolyLM 3.1."
    )
    max_duplicate_lines: float | None = Field(0.3, description="Gopher repetition.")
    max_duplicate_line_characters: float | None = Field(0.2, description="Gopher repetition.")
    max_top_2gram: float | None = Field(
        0.20, description="Share of characters in the commonest 2-gram; Gopher."
    )
    max_top_3gram: float | None = Field(0.18, description="Gopher.")
    max_top_4gram: float | None = Field(0.16, description="Gopher.")
    max_duplicate_5grams: float | None = Field(
        0.15, description="Share of characters in repeated 5-grams; Gopher."
    )
    max_duplicate_10grams: float | None = Field(0.10, description="Gopher.")
    max_urls: float | None = Field(0.2, description="Share of characters within URLs; PolyLM 3.1.")


class Deduplication(Settings):
    """Exact and MinHash deduplication over the whole corpus, by language."""

    exact: bool = True
    minhash: bool = True
    permutations: Count = Field(128, description="ALLaM, filtering slide.")
    bands: Count = Field(14, description="ALLaM: 14 × 9 for a nominal Jaccard of 0.7.")
    rows: Count = Field(9, description="ALLaM, filtering slide.")
    shingle: Count = Field(5, description="Words in a shingle (13 characters in Chinese, Japanese and Thai).")
    verify: Share = Field(0.7, description="Candidates whose signatures agree on less are kept.")


class Curate(Stage):
    """Read raw text, identify its language, correct, filter and deduplicate it, and keep a ledger that balances."""

    makes: ClassVar[str] = "corpus"
    reads: ClassVar[dict[str, Role]] = {"text": Role(("text",), required=False)}
    function: ClassVar[str] = "diglot.corpus.curate:run"

    do: Literal["curate"] = "curate"
    sources: dict[Name, Source]
    language_confidence: Share = Field(
        0.6,
        description="ccnet_language_score; ALLaM, filtering slide. 0 switches language identification off.",
    )
    corrections: bool = Field(
        True, description="Line-wise corrections of PolyLM 3.1: whitespace, URLs, long words."
    )
    rules: Rules = Rules()
    deduplication: Deduplication = Deduplication()
    held_out: Share = Field(0.02, description="Share of documents kept out of training, for bits per byte.")
    max_held_out: Count = Field(500, description="At most this many held-out documents a source.")
    max_record_bytes: Count = Field(
        20_000_000, description="Longer records are counted as oversized and dropped."
    )
    seed: int = 0

    def outside_paths(self) -> dict[tuple, str]:
        """The sources' paths."""
        return _source_paths(self)


class ChatSource(Settings):
    """Conversations or preference pairs in any of the common forms (OpenAI messages, Alpaca, ShareGPT, …)."""

    path: str | list[str] = Field(
        description="JSONL (.gz, .zst) or Parquet: files, folders, globs or URLs; relative to the working folder, or "
        "to the artifact in `from` where the stage has one."
    )
    language: Language = Field(
        description="Records that say in a field `language` that they are in another one are left out, and counted."
    )
    domain: str = "chat"
    limit: Count | None = None
    held_out_path: str | list[str] | None = Field(None, description="Use this as the held-out part as it is.")


class GatherTasks(Stage):
    """Read instruction data in the common forms, check it, and write it as OpenAI messages."""

    makes: ClassVar[str] = "tasks"
    reads: ClassVar[dict[str, Role]] = {"text": Role(("text",), required=False)}
    function: ClassVar[str] = "diglot.align.tasks:run"

    do: Literal["gather-tasks"] = "gather-tasks"
    sources: dict[Name, ChatSource]
    held_out: Share = 0.02
    max_held_out: Count = 500
    max_characters: Count = Field(8000, description="Longer conversations are dropped and counted.")
    seed: int = 0

    def outside_paths(self) -> dict[tuple, str]:
        """The sources' paths."""
        return _source_paths(self)


class GatherPreferences(Stage):
    """Read preference pairs in the common forms, check them, and write prompt, chosen and rejected messages."""

    makes: ClassVar[str] = "preferences"
    reads: ClassVar[dict[str, Role]] = {"text": Role(("text",), required=False)}
    function: ClassVar[str] = "diglot.align.preferences:run"

    do: Literal["gather-preferences"] = "gather-preferences"
    sources: dict[Name, ChatSource]
    held_out: Share = 0.1
    max_held_out: Count = 500
    max_characters: Count = 8000
    seed: int = 0

    def outside_paths(self) -> dict[tuple, str]:
        """The sources' paths."""
        return _source_paths(self)


# --- tokenizer and tokens -------------------------------------------------------------------------------------


class TrainTokenizer(Stage):
    """Train a byte-fallback BPE tokenizer on a corpus (PolyLM 3.1: BPE, digits one by one, byte fallback)."""

    makes: ClassVar[str] = "tokenizer"
    reads: ClassVar[dict[str, Role]] = {"corpus": Role(("corpus",), many=True)}
    function: ClassVar[str] = "diglot.tokenizer.train:run"

    do: Literal["train-tokenizer"] = "train-tokenizer"
    vocabulary_size: Count = Field(
        256_000, description="All entries, specials and bytes included; PolyLM 3.1."
    )
    languages: list[Language] | None = Field(None, description="Train on these languages only.")
    alpha: Share = Field(0.3, description="Languages are sampled by share^alpha (XLM-R; PolyLM 3.1).")
    max_bytes: Count = Field(200_000_000, description="Size of the training sample.")
    seed: int = 0


class ExtendTokenizer(Stage):
    """Add a language to a tokenizer by continuing its merges, and prove that the base language is untouched."""

    makes: ClassVar[str] = "tokenizer"
    reads: ClassVar[dict[str, Role]] = {
        "tokenizer": Role(("tokenizer", "model")),
        "corpus": Role(("corpus",), many=True),
    }
    function: ClassVar[str] = "diglot.tokenizer.extend:run"

    do: Literal["extend-tokenizer"] = "extend-tokenizer"
    languages: list[Language] = Field(description="The new languages.")
    new_tokens: Count
    max_bytes: Count = 200_000_000
    seed: int = 0


class Encode(Stage):
    """Encode text, tasks and preferences into memory-mapped token shards."""

    makes: ClassVar[str] = "tokens"
    reads: ClassVar[dict[str, Role]] = {
        "tokenizer": Role(("tokenizer", "model")),
        "corpus": Role(("corpus",), required=False, many=True),
        "tasks": Role(("tasks",), required=False, many=True),
        "preferences": Role(("preferences",), required=False, many=True),
    }
    function: ClassVar[str] = "diglot.tokens.encode:run"

    do: Literal["encode"] = "encode"
    sources: list[Name] | None = Field(None, description="Encode these sources only.")


# --- model ----------------------------------------------------------------------------------------------------


class Shape(Settings):
    """Changes to a preset's shape."""

    num_layers: Count | None = None
    hidden_size: Count | None = None
    intermediate_size: Count | None = None
    num_heads: Count | None = None
    num_key_value_heads: Count | None = None
    max_positions: Count | None = None
    tied_embeddings: bool | None = None


class NewModel(Stage):
    """A model with random weights, in the shape of a preset, for a tokenizer."""

    makes: ClassVar[str] = "model"
    reads: ClassVar[dict[str, Role]] = {"tokenizer": Role(("tokenizer",))}
    function: ClassVar[str] = "diglot.model.presets:run"

    do: Literal["new-model"] = "new-model"
    preset: str
    shape: Shape = Shape()
    pad_vocabulary_to: Count = Field(1, description="Rows of the embedding are a multiple of this.")
    seed: int = 0


class ImportModel(Stage):
    """Take in a Hugging Face model folder or hub name (Llama, Mistral, Qwen3, GPT-2/PolyLM; safetensors only)."""

    makes: ClassVar[str] = "model"
    function: ClassVar[str] = "diglot.model.huggingface:run"

    do: Literal["import-model"] = "import-model"
    path: str

    def outside_paths(self) -> dict[tuple, str]:
        """The model's folder; a hub name stands for itself."""
        return {("path",): self.path} if Path(self.path).expanduser().exists() else {}


class Expand(Stage):
    """Give a model the rows of an extended tokenizer; old rows stay bit for bit (ALLaM: mean of sub-tokens)."""

    makes: ClassVar[str] = "model"
    reads: ClassVar[dict[str, Role]] = {"model": Role(("model",)), "tokenizer": Role(("tokenizer",))}
    function: ClassVar[str] = "diglot.model.surgery:run"

    do: Literal["expand"] = "expand"
    initialization: Literal["mean", "random"] = "mean"
    pad_vocabulary_to: Count = 1
    seed: int = 0


class Merge(Stage):
    """Average the weights of models that share a vocabulary, row by row in the order of token strings."""

    makes: ClassVar[str] = "model"
    reads: ClassVar[dict[str, Role]] = {"models": Role(("model",), many=True)}
    function: ClassVar[str] = "diglot.model.merge:run"

    do: Literal["merge"] = "merge"
    method: Literal["linear"] = "linear"
    weights: list[float] | None = Field(
        None, description="One a model, in the order of `from`; equal if absent."
    )


# --- training -------------------------------------------------------------------------------------------------


class Phase(Settings):
    """A stretch of training with one mixture and one learning-rate shape."""

    name: Name
    share: Share = Field(1.0, description="Share of the stage's steps; the shares of all phases add up to 1.")
    mixture: dict[Name, Annotated[float, Field(gt=0)]] | None = Field(
        None, description="Share of training tokens by source; by size if absent."
    )
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Peak; the stage's if absent."
    )
    warmup: Share = Field(0.0, description="Share of the phase's steps spent warming up from `warmup_from`.")
    shape: Literal["constant", "cosine", "linear", "one-minus-sqrt"] = "constant"
    final: Share = Field(0.1, description="Learning rate at the end over the peak; PolyLM 3.2: 10%.")


class Train(Stage):
    """Train a model: one loop for language modelling, supervised fine-tuning and preferences (DPO)."""

    makes: ClassVar[str] = "model"
    reads: ClassVar[dict[str, Role]] = {"model": Role(("model",)), "tokens": Role(("tokens",), many=True)}
    function: ClassVar[str] = "diglot.train.loop:run"
    neutral: ClassVar[frozenset[str]] = frozenset({"checkpoint_every", "keep_checkpoints"})

    do: Literal["train"] = "train"
    objective: Literal["lm", "sft", "dpo"] = "lm"
    steps: Count
    phases: list[Phase] = [Phase(name="all")]
    batch_size: Count = Field(512, description="Sequences a step; PolyLM 3.2 (1.7B).")
    micro_batch_size: Count | None = Field(
        None, description="Sequences in memory at a time; the batch if absent."
    )
    sequence_length: Count = Field(2048, description="Tokens a sequence; PolyLM 3.2.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(3e-5, description="ALLaM, learning-rate slides.")
    warmup_from: Annotated[float, Field(ge=0)] = Field(1e-7, description="PolyLM 3.2.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.1, description="PolyLM 3.2.")
    betas: tuple[Momentum, Momentum] = Field((0.9, 0.95), description="PolyLM 3.2.", strict=False)
    epsilon: Annotated[float, Field(gt=0)] = Field(1e-8, description="PolyLM's released scripts.")
    gradient_clip: Annotated[float, Field(gt=0)] = Field(1.0, description="PolyLM 3.2.")
    beta: Annotated[float, Field(gt=0)] = Field(0.1, description="DPO: weight of the KL penalty.")
    precision: Literal["float32", "bfloat16"] = "float32"
    evaluate_every: Count = Field(100, description="Steps between evaluations on held-out text.")
    evaluate_tokens: Count = Field(50_000, description="Held-out tokens a source in each evaluation.")
    checkpoint_every: Count = 100
    keep_checkpoints: Count = Field(2, description="Older checkpoints are removed.")
    seed: int = 0

    @model_validator(mode="after")
    def _phases_fill_the_steps(self) -> Train:
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of the phases add up to {total:g}, not to 1")
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError("two phases have the same name")
        if self.batch_size % (self.micro_batch_size or self.batch_size):
            raise ValueError("batch_size must be a multiple of micro_batch_size")
        return self


# --- evaluation and report ------------------------------------------------------------------------------------


class Task(Settings):
    """Test items in JSONL: `{prompt, choices, answer}` or `{prompt, reference}`."""

    path: str = Field(
        description="A JSONL file; relative to the artifact in `from: {items: …}` where there is one."
    )
    language: Language
    kind: Literal["choice", "generation"] = "choice"
    prompt: str = Field("{prompt}", description="Template around the item's prompt; \\n is a new line.")
    chat: bool = Field(False, description="Put the prompt into the chat template, as a user's message.")
    shots: int = Field(
        0, ge=0, description="Examples before the item, drawn from the other items by the seed."
    )
    max_new_tokens: Count = 64


class Evaluate(Stage):
    """Measure a model: bits per byte by language, choice and generation tasks, preference margins."""

    makes: ClassVar[str] = "scores"
    reads: ClassVar[dict[str, Role]] = {
        "model": Role(("model",)),
        "corpus": Role(("corpus",), required=False, many=True),
        "items": Role(("text",), required=False),
        "preferences": Role(("preferences",), required=False, many=True),
    }
    function: ClassVar[str] = "diglot.evaluate.engine:run"
    extra: ClassVar[str | None] = "evaluate"

    do: Literal["evaluate"] = "evaluate"
    tasks: dict[Name, Task] = {}
    lm_eval_tasks: list[str] = Field([], description="Tasks that come with lm-evaluation-harness, by name.")
    continuations: int = Field(
        0,
        ge=0,
        description="Make this many choice items a language from held-out text: which words come next?",
    )
    translations: int = Field(
        0, ge=0, description="Make this many translation items a direction from held-out pairs."
    )
    limit: Count | None = Field(None, description="Items a task at most.")
    batch_size: Count = 64
    max_documents: Count = Field(200, description="Held-out documents a source for bits per byte.")
    seed: int = 0

    def outside_paths(self) -> dict[tuple, str]:
        """The tasks' files, where the items come from outside."""
        inside = isinstance(self.from_, dict) and "items" in self.from_
        paths = {("tasks", name, "path"): task.path for name, task in self.tasks.items()}
        return {key: path for key, path in paths.items() if not inside or path.startswith(("/", "~"))}


class Report(Stage):
    """One offline HTML page about a whole run."""

    makes: ClassVar[str] = "report"
    reads: ClassVar[dict[str, Role]] = {
        "stages": Role(
            ("text", "corpus", "tasks", "preferences", "tokenizer", "tokens", "model", "scores"), many=True
        )
    }
    reads_everything: ClassVar[bool] = True
    function: ClassVar[str] = "diglot.report.page:run"
    extra: ClassVar[str | None] = "report"

    do: Literal["report"] = "report"
    title: str | None = None
    before: str | None = Field(None, description="The evaluate stage to compare with; the first if absent.")
    after: str | None = Field(None, description="The evaluate stage to show; the last if absent.")


AnyStage = Annotated[
    Union[
        World,
        Curate,
        GatherTasks,
        GatherPreferences,
        TrainTokenizer,
        ExtendTokenizer,
        Encode,
        NewModel,
        ImportModel,
        Expand,
        Train,
        Merge,
        Evaluate,
        Report,
    ],
    Field(discriminator="do"),
]
STAGES: dict[str, type[Stage]] = {
    kind.model_fields["do"].default: kind for kind in get_args(get_args(AnyStage)[0])
}


class Recipe(Settings):
    """A whole recipe."""

    name: Name
    description: str = ""
    seed: int = Field(
        0, description="Every stage derives its own streams of randomness from this and its name."
    )
    run: str | None = Field(None, description="The run folder; runs/<name> if absent.")
    stages: dict[Name, AnyStage] = Field(min_length=1)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Recipe.model_json_schema(by_alias=True),
    }
