"""Strange inputs by the thousand: each must be taken or refused with an error of ours.

    python tests/fuzz.py --count 50000                        all targets
    python tests/fuzz.py --count 50000 --only settings        one of them
    python tests/fuzz.py --only settings --start 1234 --count 1     one input again, that was reported

An input is made of a target's name and a number alone. What fails is told with its traceback: any exception but
`UserError`, more than SECONDS for one input, more than MEMORY beyond what the process had before, and a process that dies.

A target is a function of a `random.Random`: it makes one input, and does with it what a command would do. It runs in a
folder of its own, in a process of its own, which is started anew after a failure.

    @target("settings")
    def settings(random): ...
"""

import argparse
import contextlib
import faulthandler
import functools
import gzip
import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SECONDS, MEMORY = 10.0, 1_000_000_000
# The hard limit of a process: what wants more gets a MemoryError before the machine suffers.
MOST_DATA = 6_000_000_000

Target = Callable[[Random], None]
TARGETS: dict[str, Target] = {}


def target(name: str) -> Callable[[Target], Target]:
    """Registers a target by its name."""

    def register(function: Target) -> Target:
        TARGETS[name] = function
        return function

    return register


# --- strange things ---------------------------------------------------------------------------------------------

STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 0.0, -0.0, 0.5, 1.0, 1e-320, 1e308,
    float("inf"), float("nan"), "", " ", "a", "0", "-1", "nan", "null", "true", "²", "٣", "1e400", "en", "EN", "ar-Latn", "zz",
    "\ud800", "\udfff x", "\x00", "\x1b[2J", "\u202e", "\ufeff", "é", "e\u0301", "👩‍👩‍👧", "\u2028", "a\nb", "{text}", "{", "{0.__class__}",
    "a.b", "../..", "~", "~nobody-here/x", "*", "**", "[", "no/such/file", "://", "hf://x", "http://me:secret@host", "a" * 5000, [], {}, [[]], [None],
    {"": None}, {"a": {}}, [1, "a"], {"name": "a"}, ["a", "a"], {"path": "x"}, {"en": 1},
)  # fmt: skip
STRANGE_TEXTS = [each for each in STRANGE if isinstance(each, str)]
PIECES = (
    b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\n", b"\r\n", b"\t", b" ", b"'", b'"', b"\\", b"{", b"}", b"[", b"]", b"[" * 200,
    b"{" * 200, b":", b": ", b",", b"- ", b"? ", b"#", b"&a ", b"*a ", b"<<: *a", b"!!bool ", b"!!int ", b"!!timestamp ", b"!!binary ", b"!x ", b"|\n",
    b">\n", b"%YAML 9.9\n", b"---\n", b"...\n", b"null", b"NaN", b"1e999", b"-1", b"9" * 400, b"0x", b"\\ud800", b"\\u0000", b"\x1b[31m",
)  # fmt: skip


def damaged(random: Random, content: bytes, most: int = 4) -> bytes:
    """Bytes with one to `most` pieces taken out, put in, said twice or overwritten."""
    for _ in range(random.randint(1, most)):
        start = random.randint(0, len(content))
        end = min(len(content), start + random.choice((0, 1, 1, 2, 8, 40, len(content))))
        middle = content[start:end]
        new = random.choice(
            (b"", middle * 2, middle[::-1], random.choice(PIECES), random.randbytes(random.randint(1, 4)))
        )
        content = content[:start] + new + content[end:]
    return content


def changed(random: Random, value: Any, most: int = 3) -> Any:
    """A copy of a tree of mappings and lists in which one to `most` places are others."""
    for _ in range(random.randint(1, most)):
        value = _changed_once(random, value)
    return value


def _changed_once(random: Random, value: Any) -> Any:
    if isinstance(value, dict | list) and value and random.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = random.choice(keys)
        pairs = [(each, value[each]) for each in keys]
        what = random.random()
        if what < 0.7:
            pairs = [(each, _changed_once(random, one) if each == key else one) for each, one in pairs]
        elif what < 0.8:
            pairs = [pair for pair in pairs if pair[0] != key]
        else:
            pairs.append((random.choice(STRANGE_TEXTS), random.choice([value[key], random.choice(STRANGE)])))
        return dict(pairs) if isinstance(value, dict) else [one for _, one in pairs]
    if random.random() < 0.03:
        return nested(random, random.choice((30, 100, 1000, 20_000)))
    return random.choice(STRANGE)


def nested(random: Random, levels: int) -> Any:
    """A value within so many lists or mappings."""
    value: Any = 1
    for _ in range(levels):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def as_json(random: Random, value: Any) -> bytes:
    """JSON of a value, of any depth, with or without escapes; lone surrogates stay what they are."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(200_000)
    try:
        return json.dumps(value, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    except RecursionError:  # the encoder's own limit
        return b"[" * 5000
    finally:
        sys.setrecursionlimit(before)


# --- the processes ----------------------------------------------------------------------------------------------


def work(name: str, start: int, count: int, seconds: float) -> None:
    """Do a target's inputs and tell of each on the standard output; what targets print goes to the standard error."""
    tell = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_DATA, MOST_DATA))
    from diglot.base.errors import UserError

    with contextlib.suppress(BaseException):
        TARGETS[name](Random(f"{name}/warm"))  # what is imported late counts for no input
    before = peak_bytes()
    for number in range(start, start + count):
        faulthandler.dump_traceback_later(seconds, exit=True)
        print(json.dumps({"begun": number}), file=tell, flush=True)
        failure = ""
        try:
            TARGETS[name](Random(f"{name}/{number}"))
        except UserError as error:
            if not str(error).strip():
                failure = "an error without a message"
        except BaseException:
            failure = traceback.format_exc()
        faulthandler.cancel_dump_traceback_later()
        if not failure and (more := peak_bytes() - before) > MEMORY:
            failure = f"{more / 1e9:.1f} GB of memory"
        if failure:
            print(json.dumps({"number": number, "failure": failure}), file=tell, flush=True)
            return


def peak_bytes() -> int:
    """Most memory that this process has held. `ru_maxrss` would begin with what its parent held, on Linux."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def hunt(name: str, count: int, start: int = 0, seconds: float = SECONDS) -> dict[int, str]:
    """Do a target's inputs in processes of their own; what went wrong, by the input's number."""
    failures: dict[int, str] = {}
    at, end = start, start + count
    while at < end:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+", errors="replace") as said:
            paths = [str(ROOT), str(ROOT / "tests" / "helpers"), *filter(None, [os.environ.get("PYTHONPATH")])]
            place = Path(folder, "a", "b", "c")  # so that ../.. is not the root of the disk
            place.mkdir(parents=True)
            words = [
                sys.executable,
                __file__,
                "--worker",
                name,
                "--start",
                at,
                "--count",
                end - at,
                "--seconds",
                seconds,
            ]
            process = subprocess.Popen(
                [*map(str, words)], cwd=place, stdout=subprocess.PIPE, stderr=said, text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            assert process.stdout is not None
            told = [json.loads(line) for line in process.stdout]
            code = process.wait()
            said.seek(0)
            last_words = said.read()[-3000:]
        last = told[-1] if told else {"begun": at}
        if "failure" in last:
            failures[last["number"]] = last["failure"]
        elif code:
            failures[last["begun"]] = f"the process ended with {code}: {last_words}"
        at = last.get("number", last.get("begun")) + 1
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="Inputs of each target.")
    parser.add_argument("--only", choices=sorted(TARGETS), help="One target.")
    parser.add_argument("--start", type=int, default=0, help="Number of the first input.")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="That one input may take.")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.start, given.count, given.seconds)
        return
    failed = False
    for name in [given.only] if given.only else sorted(TARGETS):
        failures = hunt(name, given.count, given.start, given.seconds)
        for number, failure in failures.items():
            print(f"--- {name}, input {number}\n{failure.strip()}")
        print(f"{name}: {given.count:,} inputs, {len(failures)} failed", flush=True)
        failed |= bool(failures)
    sys.exit(failed)


# --- settings: recipes, overrides, options of stages' commands --------------------------------------------------

RECIPE = """\
name: small
seed: 3
stages:
  world: {do: world, people: 40, languages: [en], documents: {en: 20}}
  corpus:
    do: curate
    sources:
      english: &source {path: texts, language: en, limit: 5}
      arabic: {<<: *source, language: ar}
      pairs: {path: [a.jsonl, b.jsonl], language: en, target_language: ar, text: src, target_text: tgt}
    rules: {limits: {min_words: 3, max_urls: null}, languages: {ar: {min_words: 5}}}
    deduplication: {bands: 14, rows: 9, lines: 6}
    decontamination: {path: [eval], fields: [context]}
    language_confidence_of: {ar: 0.7}
  ngram: {do: train-ngram, from: {corpus: corpus}, order: 3, languages: [en]}
  tokenizer: {do: train-tokenizer, from: corpus, vocabulary_size: 1000, parity: {en: "a.txt:x"}}
  larger: {do: extend-tokenizer, from: {tokenizer: tokenizer, corpus: corpus}, languages: [ar], new_tokens: 10}
  hub: {do: import-model, path: org/model}
  base: {do: new-model, from: tokenizer, preset: tiny, shape: {num_layers: 2}}
  expanded: {do: expand, from: {model: base, tokenizer: larger}, distillation: {tokens: 50}}
  translated:
    do: translate
    from: corpus
    endpoint: {url: "http://127.0.0.1:1/v1", model: m, timeout: 5, retries: 2}
    target_language: ar
    prompt: "Say {text} in {target_language}."
  tokens: {do: encode, from: {corpus: corpus, tokenizer: larger}, keep: [cluster_size]}
  trunk: &train
    do: train
    from: {model: expanded, tokens: tokens}
    steps: 40
    batch_size: 4
    micro_batch_size: 2
    export_every: 10
    exports: [5]
    export_optimizer: true
    document_weights: {en: {column: cluster_size, by: log}}
    phases:
      - {name: stable, share: 0.8, mixture: {english: 0.5, arabic: 0.5}, warmup: 0.1}
      - {name: decay, share: 0.2, shape: linear, max_epochs: {english: 4}}
  branch: {<<: *train, from: {model: trunk@20, tokens: tokens}, continues: optimizer}
  sweep: {do: sweep, from: {model: base, tokens: tokens}, steps: 5, learning_rates: [1e-4, 1e-3]}
  merged: {do: merge, from: [trunk, branch], method: linear, weights: [0.5, 0.5]}
  scores: {do: evaluate, from: {model: merged, corpus: corpus}, tasks: {t: {path: x.jsonl, language: en, kind: choice, shots: 2}}}
  report: {do: report, title: All of it}
"""
OVERRIDES = (
    "trunk.steps=100", "seed=3", "trunk.phases.decay.shape=cosine", "trunk.phases.0.share=0.8", "stages={}", "run=x",
    "corpus.sources.english.path=[a, b]", "corpus.sources.english.path=*.jsonl", "corpus.rules.limits.min_words=3",
    "corpus.sources.pairs={path: x, language: en}", "base.preset=small", "merged.from.0=trunk@5", "scores.tasks.t.kind=generation",
    "trunk.exports.0=7", "translated.endpoint.timeout=1e-3", "name=y", "world.documents.en=5", "trunk.betas=[0.9, 0.95]",
)  # fmt: skip


@target("settings")
def settings(random: Random) -> None:
    """A recipe with overrides up to its dry run, or the options of a stage's command."""
    from diglot import flow
    from diglot.load import load_recipe
    from diglot.terminal import plan_table

    if random.random() < 0.2:
        return _options(random)
    _files()
    file = Path("recipe.yaml")
    file.write_bytes(_recipe(random))
    overrides = [_override(random) for _ in range(random.choice((0, 0, 1, 2)))]
    recipe, where = load_recipe(file, overrides)
    steps = flow.plan(recipe, Path("run"), where, looking=random.random() < 0.7)
    plan_table(steps)


@functools.cache
def _files() -> None:
    """What RECIPE reads."""
    for name in ("texts/a.jsonl", "a.jsonl", "b.jsonl", "eval/x.jsonl", "a.txt", "x.jsonl"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text('{"text": "x"}\n')


def _recipe(random: Random) -> bytes:
    import yaml

    what = random.random()
    if what < 0.1:
        return RECIPE.encode()
    if what < 0.6:
        return damaged(random, RECIPE.encode())
    value = changed(random, yaml.safe_load(RECIPE))
    if random.random() < 0.5:
        return as_json(random, value)
    try:
        return yaml.dump(value, allow_unicode=random.random() < 0.5, sort_keys=False).encode("utf-8", "surrogatepass")
    except RecursionError:
        return b"- " * 5000


def _override(random: Random) -> str:
    text = random.choice(OVERRIDES)
    what = random.random()
    if what < 0.3:
        return text
    if what < 0.6:
        return damaged(random, text.encode(), 2).decode("utf-8", "surrogateescape")
    key, _, _ = text.partition("=")
    if what < 0.8:
        return f"{key}={as_json(random, random.choice(STRANGE)).decode('utf-8', 'surrogateescape')}"
    keys = key.split(".")
    keys[random.randrange(len(keys))] = random.choice(STRANGE_TEXTS)
    return f"{'.'.join(keys)}={random.choice((1, 'x', '{}', '[]'))}"


def _options(random: Random) -> None:
    import yaml

    from diglot.recipe import STAGES
    from diglot.stage_commands import given_settings

    stage = random.choice(list(yaml.safe_load(RECIPE)["stages"].values()))
    texts = {
        f"set_{key}": as_json(random, changed(random, value, 1) if random.random() < 0.5 else value).decode(
            "utf-8", "surrogateescape"
        )
        for key, value in stage.items()
        if key not in ("do", "from")
    }
    if texts and random.random() < 0.4:
        key = random.choice(list(texts))
        texts[key] = damaged(random, texts[key].encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
    given_settings(STAGES[stage["do"]], texts, {role: [] for role in STAGES[stage["do"]].reads})


@target("arguments")
def arguments(random: Random) -> None:
    """What is written behind `diglot show`, `data`, `plan`, `run`: on a run in which nothing is done yet."""
    import click

    from diglot.cli import USERS_ERRORS, cli

    _quick_run()
    _import_late()
    words = list(random.choice(COMMANDS).split(" "))
    for _ in range(random.randint(1, 2)):
        place = random.randrange(len(words))
        key, equals, _ = words[place].partition("=")
        strange = str(random.choice(STRANGE)).replace("\x00", "").encode("utf-8", "replace").decode()
        words[place] = random.choice((strange, key + equals + strange, words[place] * 2, words[place] + strange))
        if random.random() < 0.3:
            words.insert(
                place, random.choice(("--json", "--stage", "--limit", "--seed", "--price", "--until", "-", "--"))
            )
    if "--dry-run-ranks" in words or (words[0] == "run" and "--dry-run" not in words):
        return  # these do work
    try:
        cli.main(words, prog_name="diglot", standalone_mode=False)
    except (click.ClickException, click.exceptions.Exit):
        return
    except OSError as error:
        if error.errno not in USERS_ERRORS:
            raise


COMMANDS = (
    "run recipe.yaml --dry-run trunk.steps=50", "run recipe.yaml --until corpus --dry-run --run x", "show runs/small --json",
    "show runs/small --stage corpus --source english", "show runs/small", "data runs/small --stage trunk --at-step 3 --limit 5",
    "data runs/small --mixture --json", "data runs/small --stage trunk --document english:1",
    "plan plan.yaml --cluster h100:2x8 --price 2.5 --mfu 0.4", "plan plan.yaml base.steps=9 --cluster cpu:4 --watts 50 --pue 1.1",
    "plan plan.yaml init.shape.num_layers=2 init.shape.hidden_size=64 tokenizer.vocabulary_size=100 --cluster h100",
    "plan plan.yaml --cluster a100-80:8 --tokens-per-second 1000 --json", "schema", "curate --help", "chat runs/small --seed 3",
)  # fmt: skip
# Nothing is read but what the recipe says, so that it can be planned.
PLANNED = """\
name: planned
stages:
  corpus: {do: curate, sources: {english: {path: texts, language: en}}}
  tokenizer: {do: train-tokenizer, from: corpus, vocabulary_size: 1000}
  tokens: {do: encode, from: {corpus: corpus, tokenizer: tokenizer}}
  init: {do: new-model, from: tokenizer, preset: tiny}
  base: {do: train, from: {model: init, tokens: tokens}, steps: 40, batch_size: 4, sequence_length: 64}
"""


@functools.cache
def _import_late() -> None:
    """What commands import when they run takes seconds, which count for no input."""
    import diglot.serve.chat  # noqa: F401
    from diglot.cli import cli

    cli.main(["plan", "plan.yaml", "--cluster", "h100"], standalone_mode=False)


@functools.cache
def _quick_run() -> None:
    """A recipe and its run, as far as its first look: made once in a process's folder."""
    from diglot import flow
    from diglot.load import load_recipe

    _files.__wrapped__()
    Path("recipe.yaml").write_text(RECIPE)
    Path("plan.yaml").write_text(PLANNED)
    folder = Path("runs/small")
    folder.mkdir(parents=True)
    flow._remember(load_recipe(Path("recipe.yaml"))[0], folder)


# --- answers of a model server ----------------------------------------------------------------------------------

SECRET, PASSWORD = "sk-Zq81-do-not-tell", "pa55w0rd-of-me"
STATUSES = (200,) * 12 + (201, 204, 301, 307, 400, 401, 404, 413, 422, 429, 500, 503, 599)
ANSWER: dict[str, Any] = {
    "id": "x", "object": "chat.completion", "created": 0, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "مرحبا"}, "logprobs": None}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}  # fmt: skip
ERROR = {"error": {"message": f"wrong key {SECRET}", "code": "model_not_found", "type": "x", "param": None}}


@functools.cache
def _asked() -> tuple[Any, Any]:
    """A server and its client, made once in a process."""
    from raw_server import RawServer

    from diglot.endpoint.client import Client
    from diglot.recipe.endpoint import Endpoint

    os.environ["FUZZ_KEY"] = SECRET
    server = RawServer()
    url = f"http://me:{PASSWORD}@127.0.0.1:{server.port}/v1"
    return server, Client(Endpoint(url=url, model="m", key_variable="FUZZ_KEY", timeout=5.0, retries=0))


@target("answers")
def answers(random: Random) -> None:
    """An answer of a model server: what is taken can be journalled, read again and written down."""
    from diglot.base.errors import UserError
    from diglot.endpoint.client import Journal, Refused
    from diglot.translate.stage import accept

    server, client = _asked()
    server.reply = _reply(random)
    try:
        completion = client.complete([{"role": "user", "content": "hello"}], max_tokens=9)
    except (UserError, Refused) as error:
        assert SECRET not in str(error), error
        assert PASSWORD not in str(error), error
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", str(error)), ascii(error)
        return
    server.requests.clear()
    file, key = Path("answers.jsonl"), f"{random.getrandbits(128):032x}"
    with Journal(file) as journal:
        journal.add(key, completion)
    with Journal(file) as journal:
        assert journal.get(key) == completion
        assert client.cost(journal.prompt_tokens, journal.completion_tokens) == 0
    file.write_text(json.dumps(accept("hello", completion), ensure_ascii=False), encoding="utf-8")
    file.unlink()


def _reply(random: Random) -> bytes:
    status = random.choice(STATUSES)
    value: Any = random.choice((ANSWER, ANSWER, ANSWER, ERROR))
    body = as_json(random, value if random.random() < 0.1 else changed(random, value))
    headers = {"content-type": "application/json", "location": f"http://{SECRET}:x@127.0.0.1:1/{SECRET}"}
    if random.random() < 0.2:
        body = damaged(random, body)
    if random.random() < 0.15:
        body = gzip.compress(body + b" " * random.choice((0, 0, 50_000_000)))
        headers["content-encoding"] = random.choice(("gzip", "gzip", "deflate", "gzip, gzip", "br", "x"))
    if random.random() < 0.2:
        headers["retry-after"] = str(random.choice(STRANGE)).replace("\n", " ")
    headers["content-length"] = str(
        len(body) if random.random() < 0.9 else random.choice((0, 1, len(body) + 9, -1, 10**30))
    )
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n"
    if random.random() < 0.1:
        head = random.choice((damaged(random, head), head.replace(b"Said", b"Bearer " + SECRET.encode() + b"\x00")))
    return head + body


# --- files of every format --------------------------------------------------------------------------------------

WORDS = "the baker of the town bakes bread every morning and sells it to the people by the river before noon"
RECORDS = [
    {"id": "a", "text": f"{WORDS}. الخباز يخبز الخبز 👩‍👩‍👧", "url": "http://x/1", "src": WORDS, "tgt": "خبز"},
    {"instruction": WORDS, "input": "", "output": "bread", "system": "Be brief.", "history": [["a", "b"]]},
    {"messages": [{"role": "user", "content": WORDS}, {"role": "assistant", "content": "bread"}], "language": "en"},
    {"prompt": WORDS, "chosen": "bread", "rejected": "iron", "choices": ["bread", "iron"], "answer": 0, "reference": "x"},
    {"lang": "en", "words": ["spam", "two words"], "text": "", "translation": {"en": WORDS, "ar": "خبز"}},
]  # fmt: skip
FORMATS = ("jsonl", "json", "csv", "tsv", "txt", "html", "parquet", "arrow", "feather", "warc", "wet", "pairs")
ENCODINGS = (None, None, None, "utf-16", "utf-16-le", "utf-32", "cp1256", "gb18030", "iso2022_jp", "utf-7", "ascii")
LIMITS = (30, 1000, 20_000_000)


@target("readers")
def readers(random: Random) -> None:
    """A file of any format, damaged, through one of the stages and commands that read files."""
    from diglot.align import instructions, preferences  # noqa: F401  (what is imported late counts for the input)
    from diglot.curate import prepare, units  # noqa: F401
    from diglot.evaluate import items  # noqa: F401
    from diglot.tokenizer import texts  # noqa: F401

    read = random.choice((_records, _records, _curated, _gathered, _items, _texts, _banned))
    lines = read not in (_records, _curated) and random.random() < 0.8  # the others read hardly anything else
    kind = "jsonl" if lines else random.choice(FORMATS)
    folder = Path(f"{random.getrandbits(64):x}")
    folder.mkdir()
    content = _content(random, kind)
    # Arrow's and Parquet's insides are checked by bytes alone: there is no text to say something else.
    for _ in range(random.choice((0, 1, 1, 1, 2))):
        content = damaged(random, content, 3)
    suffix = random.choice(("", "", "", ".gz", ".zst")) if kind not in ("parquet", "arrow", "feather") else ""
    content = _compressed(random, content, suffix)
    name = f"a.{kind}{suffix}"
    (folder / name).write_bytes(content)
    (folder / "b.pairs").write_bytes(damaged(random, content) if random.random() < 0.7 else content)
    try:
        read(random, folder, name)
    finally:
        shutil.rmtree(folder)


def _content(random: Random, kind: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from corpus_files import html_page, http_response, warc_record

    known = RECORDS if random.random() < 0.4 else [random.choice(RECORDS)]
    records = random.choices(known, k=random.choice((1, 3, 9)))
    rows = [changed(random, one) if random.random() < 0.3 else one for one in records]
    if kind in ("parquet", "arrow", "feather"):
        numbers = [random.choice((0, -1, 2**31, 2**62)) for _ in records]
        table = pa.Table.from_pylist([{"id": one.get("id"), "text": one.get("text"), "src": one} for one in records])
        unit, zone = random.choice(["s", "ms", "us", "ns"]), random.choice((None, "UTC", "Mars/x", "+25:00"))
        table = table.append_column("at", pa.array(numbers, pa.int64()).cast(pa.timestamp(unit, zone)))
        sink = io.BytesIO()
        if kind == "parquet":
            pq.write_table(table.drop_columns(["at"]) if unit == "s" else table, sink, row_group_size=2)
        else:
            options = pa.ipc.IpcWriteOptions(compression=random.choice((None, "lz4", "zstd")))
            new = pa.ipc.new_file if random.random() < 0.5 else pa.ipc.new_stream
            with new(sink, table.schema, options=options) as stream:
                stream.write_table(table, max_chunksize=2)
        return sink.getvalue()
    if kind in ("csv", "tsv"):
        lines = [
            ["id", "text", "src", "tgt"],
            *([_cell(one.get(key)) for key in ("id", "text", "src", "tgt")] for one in rows if isinstance(one, dict)),
        ]
        mark = "," if kind == "csv" else "\t"
        text = "\n".join(mark.join(f'"{cell}"' if random.random() < 0.3 else cell for cell in line) for line in lines)
    elif kind == "html":
        return html_page(WORDS * 9, declared=random.choice(("", "utf-8", "gbk", "x-none", "utf-16")))
    elif kind in ("warc", "wet"):
        page = html_page(f"{WORDS}.\n" * 9)
        coding = random.choice(("gzip", "br", "deflate", "zstd", "none", "gzip, gzip"))
        header = random.choice(("", f"Content-Encoding: {coding}\r\n", "Transfer-Encoding: chunked\r\n"))
        body = random.choice(
            (page, gzip.compress(page), zlib.compress(page), b"%x\r\n%s\r\n0\r\n\r\n" % (len(page), page))
        )
        body = damaged(random, body) if random.random() < 0.5 else body
        blocks = [warc_record("response", http_response(body, headers=header)), warc_record("conversion", page)]
        return b"".join(random.choices(blocks, k=random.choice((1, 3))))
    else:
        parts = [as_json(random, one) for one in rows]
        return b"[" + b",".join(parts) + b"]" if kind == "json" else b"\n".join(parts)
    encoding = random.choice(ENCODINGS) or "utf-8"
    return text.encode(encoding, "ignore")


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else type(value).__name__


def _compressed(random: Random, content: bytes, suffix: str) -> bytes:
    from corpus_files import COMPRESS

    if not suffix:
        return content
    if random.random() < 0.05:
        content += b" " * 100_000_000  # little in a file
    half = random.randint(0, len(content))
    parts = [COMPRESS[suffix](content[:half]), COMPRESS[suffix](content[half:])]
    between = random.choice((b"", b"", b"\0" * 99, b"\x50\x2a\x4d\x18\x04\0\0\0note", b"\x28\xb5\x2f\xfd\0\xa8", b"x"))
    whole = between.join(parts) + random.choice((b"", between))
    return damaged(random, whole) if random.random() < 0.4 else whole


def _source(random: Random, folder: Path, name: str) -> Any:
    from diglot.recipe.source import Source

    pair = name.startswith("a.pairs") or random.random() < 0.2
    given: dict[str, Any] = {"path": str(folder / name), "language": "en", "each_line": random.random() < 0.5}
    given |= {"text": random.choice((None, "text", "src", "translation.en", "src.text", "at"))}
    given |= {"encoding": random.choice(ENCODINGS), "html": random.random() < 0.2, "limit": random.choice((None, 1, 5))}
    given |= {"columns": random.choice((None, None, ["text", "b"], ["id", "text", "src", "tgt"]))}
    given |= {"target_language": "ar"} if pair else {}
    given |= {"target_path": str(folder / "b.pairs")} if name.startswith("a.pairs") else {}
    return Source(**given)


def _records(random: Random, folder: Path, name: str) -> None:
    from diglot.read.files import read_records

    how = _source(random, folder, name)
    limit = random.choice(LIMITS)
    for record in read_records(how.path, stage="corpus", source="s", how=how, max_record_bytes=limit):
        assert record.file == name
        str(record).encode("utf-8", "replace")


def _curated(random: Random, folder: Path, name: str) -> None:
    """As far as documents are made of it: their curation is no reading."""
    from diglot.base.files import write_json
    from diglot.curate.prepare import prepare
    from diglot.curate.units import units_of
    from diglot.read.files import read_shards
    from diglot.recipe.curate import Curate

    source = _source(random, folder, name)
    settings = Curate(sources={"s": source}, max_record_bytes=random.choice(LIMITS))
    for unit in units_of(settings, None, "corpus", 1):
        for shard in read_shards(unit.files, unit.reading):
            documents, broken = prepare(shard, "s", source, 0)
            assert len(documents) + len(broken) == len(shard.records or [])
            samples = [documents.ids, documents.urls, broken.ids, *documents.read, *broken.read]
            write_json(folder / "samples.json", [*(array.to_pylist() for array in samples), list(broken.details)])


def _gathered(random: Random, folder: Path, name: str) -> None:
    from diglot.align import instructions, preferences
    from diglot.base.artifact import Context, Inputs
    from diglot.recipe.align import ChatSource, GatherInstructions, GatherPreferences

    schema, module = random.choice(((GatherInstructions, instructions), (GatherPreferences, preferences)))
    source = ChatSource(path=str(folder / name), language="en", encoding=random.choice(ENCODINGS))
    (folder / "out").mkdir()
    module.run(schema(sources={"s": source}), Inputs({}), folder / "out", Context("x", 0, folder))


def _items(random: Random, folder: Path, name: str) -> None:
    from diglot.evaluate.items import read_items
    from diglot.recipe.evaluate import Task

    prompt = random.choice(("{prompt}", "{text} {answer}", "{translation}"))
    task = Task(path=str(folder / name), language="en", kind=random.choice(("choice", "generation")), prompt=prompt)
    for item in read_items("items", task, None):
        json.dumps(item, ensure_ascii=False).encode()


def _texts(random: Random, folder: Path, name: str) -> None:
    from diglot.tokenizer.texts import read_texts

    for text in read_texts(f"{folder / name}{random.choice(('', ':text', ':translation.ar'))}"):
        text.encode()


def _banned(random: Random, folder: Path, name: str) -> None:
    from diglot.curate.signals.lexicon import word_lists

    word_lists("en", str(folder / random.choice((name, ""))))


# --- folders of models ------------------------------------------------------------------------------------------

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@functools.cache
def _model_folders() -> list[dict[str, bytes]]:
    """Whole folders of small models of two families, by file: in one file and in shards, and of SentencePiece."""
    import torch
    from model_builders import write_tokenizer

    from diglot.model.decoder import Decoder, DecoderConfig
    from diglot.model.families import family_of
    from diglot.model.huggingface import save_decoder
    from diglot.model.weights import write_weights
    from diglot.tokenizer.sentencepiece_model import BYTE, CONTROL, UNKNOWN, Piece, with_pieces

    found = []
    for positions in ("rotary", "learned"):
        biases = dict.fromkeys(("query_key_value_bias", "output_bias", "feed_forward_bias"), positions == "learned")
        other: Any = {"normalization": "layer", "activation": "gelu"} if positions == "learned" else {}
        config = DecoderConfig(320, 2, 16, 24, 2, 2, 8, 64, positions=positions, **biases, **other)
        torch.manual_seed(0)
        decoder, folder = Decoder(config), Path(f"model-{positions}")
        save_decoder(decoder, folder, write_tokenizer(Path("tokenizer"), new_specials=["<|im_start|>", "<|im_end|>"]))
        (folder / "chat_template.jinja").unlink()
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        settings |= {"chat_template": CHATML, "added_tokens_decoder": {"1": {"content": "<s>", "special": True}}}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"additional_special_tokens": ["<|end|>"]}))
        (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": {"content": "</s>"}}))
        (folder / "added_tokens.json").write_text(json.dumps({"<|im_end|>": 293}))
        found.append({file.name: file.read_bytes() for file in folder.iterdir()})
        tensors = family_of(config).to_huggingface(decoder.state_dict())
        shards = Path(f"shards-{positions}")
        shards.mkdir()
        write_weights(shards, tensors, lambda name, tensors=tensors: tensors[name], max_shard_bytes=8000)
        parts = {file.name: file.read_bytes() for file in shards.iterdir()}
        found.append({name: data for name, data in found[-1].items() if name != "model.safetensors"} | parts)
    Path("empty").write_bytes(b"")
    special = [Piece("<unk>", 0, UNKNOWN), Piece("<s>", 0, CONTROL), Piece("</s>", 0, CONTROL)]
    pieces = [
        *special,
        *(Piece(f"<0x{n:02X}>", 0, BYTE) for n in range(256)),
        *(Piece(c, -n) for n, c in enumerate("▁abcdeh")),
    ]
    pieces += [Piece("▁a", -20.0), Piece("ab", -21.0)]
    model = with_pieces(Path("empty"), pieces) + b"\x12\x05\x18\x02\x98\x02\x01"  # trainer_spec: BPE, byte_fallback
    tokenizer = ("tokenizer.json", "added_tokens.json")
    found.append({name: data for name, data in found[0].items() if name not in tokenizer} | {"tokenizer.model": model})
    return found


@target("models")
def models(random: Random) -> None:
    """A model's folder with files changed, through its import and everything that reads such a folder."""
    from diglot.base.artifact import Context, Inputs
    from diglot.base.errors import UserError
    from diglot.evaluate.language_model import LanguageModel
    from diglot.model.huggingface import load_decoder
    from diglot.model.imported import run
    from diglot.recipe.model import ImportModel
    from diglot.tokenizer.base import read_base
    from diglot.tokenizer.chat import load_chat
    from diglot.tokenizer.folder import generation_ids, load_tokenizer, pieces, tokenizer_hash
    from diglot.tokenizer.framing import find_framing

    files = dict(random.choice(_model_folders()))
    folder, out = (Path(f"{random.getrandbits(64):x}") for _ in range(2))
    folder.mkdir()
    out.mkdir()
    for name in random.sample(sorted(files), random.choice((1, 1, 2))):
        files[name] = _changed_file(random, name, files[name])
    for name, data in files.items():
        (folder / name).write_bytes(data)
    if random.random() < 0.03:
        os.mkfifo(folder / "tokenizer.model") if "tokenizer.model" not in files else None
    readers = (
        lambda: run(ImportModel(path=str(folder)), Inputs({}), out, Context("model", 0, out)),
        lambda: load_decoder(folder), lambda: LanguageModel.load(folder), lambda: load_chat(folder), lambda: find_framing(folder, load_tokenizer(folder)), lambda: read_base(folder),
        lambda: (tokenizer_hash(folder), generation_ids(folder, load_tokenizer(folder))), lambda: pieces(load_tokenizer(folder), WORDS),
    )  # fmt: skip
    try:
        for read in readers:
            with contextlib.suppress(UserError):
                read()
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(out)


def _changed_file(random: Random, name: str, data: bytes) -> bytes:
    if name.endswith(".json") and random.random() < 0.8:
        return as_json(random, changed(random, json.loads(data)))
    if name.endswith(".safetensors") and random.random() < 0.6:
        size = int.from_bytes(data[:8], "little")
        header = as_json(random, changed(random, json.loads(data[8 : 8 + size])))
        return len(header).to_bytes(8, "little") + header + data[8 + size :]
    return damaged(random, data)


if __name__ == "__main__":
    main()
