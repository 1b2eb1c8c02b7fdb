"""Writes docs/sizes.md: code lines by job beside those of projects that do the same job, and lengths of functions.

python docs/make_sizes.py

A file belongs to the first job whose pattern it matches; a file of no job is an error, so a new one is put somewhere.
Counted are lines that hold code: no blank lines, comments and docstrings (code_lines.py). The peers' numbers were
counted with the same rule on the newest snapshots at hand, 2026-11, tests left out.
"""

from pathlib import Path
from typing import NamedTuple

from code_lines import code_lines, function_lengths, lines_of

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "diglot"


class Job(NamedTuple):
    """A job: its files (patterns below the package), what peers need for it, and what ours does more."""

    name: str
    patterns: tuple[str, ...]
    peer: str = "–"
    more: str = ""


JOBS = (
    Job("command line, flow", ("*.py",)),
    Job("settings", ("recipe/**/*.py",)),
    Job("executor, ledger, writing", (
        "base/executor.py", "base/ledger.py", "curate/*stage.py", "curate/account*.py", "curate/documents.py",
        "curate/steps.py", "curate/measure.py", "curate/prepare.py", "curate/scratch.py", "curate/units.py",
        "curate/write.py", "curate/__init__.py",
    ), "datatrove 1,827"),
    Job("artifacts, files, formats, devices", ("base/**/*.py",)),
    Job("reading files", ("read/**/*.py",), "datatrove 980"),
    Job("language identification", ("text/language*.py",), "datatrove 88",
        "reads py3langid's and fastText's models and runs the first in a kernel; datatrove calls fastText"),
    Job("characters, words, hashes", ("text/**/*.py",)),
    Job("deduplication, decontamination", ("curate/dedup/*.py", "text/minhash.py", "read/decontaminate.py"), "datatrove 1,316",
        "near duplicates are verified, lines and paragraphs are deduplicated, all out of core"),
    Job("cleaning, signals, rules", ("curate/**/*.py",), "datatrove 2,369"),
    Job("quality models", ("quality/**/*.py",), "datatrove 285",
        "trains n-gram models and classifiers and measures them; datatrove queries ready ones"),
    Job("endpoint, translation", ("endpoint/**/*.py", "translate/**/*.py"), "datatrove 1,685"),
    Job("tokenizer extension", (
        "tokenizer/extend*.py", "tokenizer/base.py", "tokenizer/kinds.py", "tokenizer/proofs.py",
        "tokenizer/sentencepiece_model.py", "expand/**/*.py",
    ), "mergekit 2,037", "learns the new tokens, proves what an extension promises, initializes their rows"),
    Job("chat formats", ("tokenizer/chat.py", "tokenizer/template.py", "tokenizer/special.py")),
    Job("tokenizer training", ("tokenizer/**/*.py",), "nanochat 453, Rust inside",
        "the trainer itself, in kernels; two kinds of tokenizer; a comparison of tokenizers"),
    Job("encoding", ("encode/**/*.py",), "datatrove 702",
        "encodes in kernels, many times as fast as the library, to the same ids; conversations and pairs too"),
    Job("data order", ("tokens/**/*.py",), "nanochat 201, levanter 1,529, OLMo-core 3.9k",
        "any step of any plan is found at once; caps, ramps and weights of documents"),
    Job("parallelism", ("train/mesh.py", "train/launch.py", "model/context.py", "model/sharded_loss.py"),
        "lingua 604, torchtitan 2.6k",
        "launchers, float8, rows cut over processes"),
    Job("model and loss", ("model/**/*.py",), "nanochat 429, lingua 572, torchtitan 5.2k",
        "families in and out of Hugging Face's form; losses that never hold all logits"),
    Job("checkpoint", ("train/checkpoint.py",), "lingua 234, torchtitan 905",
        "checked and written beside the training; resumed bit for bit"),
    Job("loop, guard, branches", ("train/**/*.py",), "nanochat 965, lingua 984, OLMo-core 8.8k",
        "one loop for three objectives; guard, rollbacks, branches, sweeps"),
    Job("instructions and preferences", ("align/**/*.py", "answers/**/*.py", "questions/**/*.py"), "TRL's DPO 1,898"),
    Job("merging", ("merge/**/*.py",), "mergekit 3,862"),
    Job("evaluation, chat", ("evaluate/**/*.py", "serve/**/*.py"), "nanochat 887",
        "the harness's tasks on our own model class; bits a byte; preferences; a chat"),
    Job("report", ("report/**/*.py",), "nobody has one"),
    Job("plan", ("plan/**/*.py",), "nobody has one"),
    Job("publishing, GGUF", ("publish/**/*.py",)),
    Job("invented world", ("world/**/*.py",), "nobody has one"),
)  # fmt: skip


def files_by_job() -> dict[str, list[Path]]:
    """The files of each job.

    Raises:
        SystemExit: a file belongs to no job.
    """
    found: dict[str, list[Path]] = {job.name: [] for job in JOBS}
    left = set(PACKAGE.rglob("*.py"))
    for job in JOBS:
        for pattern in job.patterns:
            mine = left & set(PACKAGE.glob(pattern))
            found[job.name] += sorted(mine)
            left -= mine
    if left:
        raise SystemExit(f"make_sizes: {sorted(map(str, left))} belong to no job; put them into one of JOBS")
    return found


def page() -> str:
    """The page."""
    by_job = files_by_job()
    files = sorted(PACKAGE.rglob("*.py"))
    code, comments, docstrings = (sum(map(len, part)) for part in zip(*map(lines_of, files), strict=True))
    lengths = function_lengths(files)
    median, p90, p99 = (lengths[int(share * len(lengths))] for share in (0.5, 0.9, 0.99))
    lines = [
        "# Sizes",
        "",
        "Made by `make docs`. Lines of code (no blank lines, comments, docstrings) by job, beside what projects that do the",
        "same need for it (counted with the same rule on the newest snapshots at hand, 2026-11, tests left out). Growth is",
        "not forbidden; it is to be seen, and argued for.",
        "",
        "| job | code lines | peers | what ours does more |",
        "|---|---|---|---|",
    ]
    for job in JOBS:
        number = sum(map(code_lines, by_job[job.name]))
        lines.append(f"| {job.name} | {number:,} | {job.peer} | {job.more} |")
    lines += [
        f"| **all** | **{code:,}** | | |",
        "",
        f"{len(files)} files. {len(lengths):,} functions: median {median} lines, p90 {p90}, p99 {p99}, longest {lengths[-1]}. "
        f"A comment in one of {code / comments:.0f} code lines; docstrings are {docstrings / (code + docstrings):.0%} of code and "
        "docstrings. The invented world's words and sentences are YAML, and not counted.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    (ROOT / "docs" / "sizes.md").write_text(page(), encoding="utf-8")
