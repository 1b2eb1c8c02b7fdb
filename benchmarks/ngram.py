"""N-gram language models (order 5): perplexity, training and queries, against KenLM.

Both sides train on the same normalised Arabic text and are measured on the same held-out documents (every fiftieth).
`lmplz` is taken from the path, or built from the source package of `kenlm` on PyPI where cmake, a C++ compiler and
Boost's development files are found (elsewhere than in the usual places: set BOOST_ROOT and BOOST_LIBRARYDIR). Queries go through KenLM's
own Python module, which needs a compiler too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from common import BENCHMARKS, CACHE, Row, arguments, finish, measure, measure_in_turn, peer_python

KENLM = "kenlm==0.3.0"
OURS, PEER = str(BENCHMARKS / "peers" / "diglot_ngram.py"), str(BENCHMARKS / "peers" / "kenlm_ngram.py")
QUICK_BYTES, FULL_BYTES = 4_000_000, 0
MEMORY = {"quick": 50_000_000, "full": 100_000_000}


def find_lmplz() -> Path | None:
    """The trainer of KenLM; None, with the reason printed, where it is neither found nor can be built."""
    if found := shutil.which("lmplz"):
        return Path(found)
    folder = CACHE / f"lmplz-{hashlib.sha256(KENLM.encode()).hexdigest()[:12]}"
    program = folder / "build" / "bin" / "lmplz"
    if program.exists():
        return program
    print(f"Building lmplz from the sources of {KENLM} …", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source, build = folder / "source", folder / "build"
    steps: list[list[str]] = [[*pip, "download", "--no-deps", "--no-binary", "kenlm", "-d", str(folder), KENLM]]
    configure = ["cmake", "-S", str(source), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"]
    configure += ["-DBoost_USE_STATIC_LIBS=ON", "-DBoost_NO_BOOST_CMAKE=ON", "-DCMAKE_POLICY_VERSION_MINIMUM=3.5"]
    if root := os.environ.get("BOOST_ROOT"):
        configure += [f"-DBOOST_ROOT={root}"]
    steps += [configure, ["cmake", "--build", str(build), "--target", "lmplz"]]
    for number, step in enumerate(steps):
        if number == 1:
            with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
                archive.extractall(folder, filter="data")
            next(path for path in folder.iterdir() if path.is_dir()).rename(source)
        try:
            done = subprocess.run(step, capture_output=True, text=True)
            said = done.stderr.strip()[-600:] if done.returncode else None
        except OSError as error:
            said = str(error)
        if said is not None:
            shutil.rmtree(folder, ignore_errors=True)
            print(f"No lmplz, so it is left out: {said}", file=sys.stderr)
            return None
    return program


def main() -> None:
    args = arguments("ngram", "N-gram language models, against KenLM")
    lmplz, kenlm = find_lmplz(), peer_python("kenlm", [KENLM])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text = [
            sys.executable,
            OURS,
            "text",
            str(args.data),
            str(folder),
            str(QUICK_BYTES if args.quick else FULL_BYTES),
        ]
        measure(text)
        train, held_out = str(folder / "train.txt"), str(folder / "heldout.txt")
        ours = [sys.executable, OURS, "train", train, str(folder / "model")]
        measure(ours)  # compiles the kernels
        commands = {"ours": ours}
        if lmplz:
            commands["lmplz"] = [sys.executable, PEER, "train", str(lmplz), train, str(folder / "peer.arpa")]
        trained = measure_in_turn(commands, args.repeats)
        memory = MEMORY["quick" if args.quick else "full"]
        bounded = measure([sys.executable, OURS, "train", train, str(folder / "bounded"), str(memory)])
        commands = {"ours": [sys.executable, OURS, "query", str(folder / "model"), held_out]}
        if kenlm:
            measure([sys.executable, OURS, "arpa", str(folder / "model"), str(folder / "ours.arpa")])
            arpa = folder / ("peer.arpa" if lmplz else "ours.arpa")
            commands["kenlm"] = [str(kenlm), PEER, "query", str(arpa), held_out]
            commands["kenlm, our ARPA"] = [str(kenlm), PEER, "query", str(folder / "ours.arpa"), held_out]
        queried = measure_in_turn(commands, args.repeats)
    our_train, peer_train = trained["ours"], trained.get("lmplz")
    our_query, peer_query = queried["ours"], queried.get("kenlm")

    def said(run, key):
        return run and run.reported[key]

    def speed(run):
        return run and run.reported["bytes"] / 1e6 / run.seconds

    peer = f"lmplz of {KENLM}"
    rows = [
        Row("perplexity of held-out text", "", said(our_query, "perplexity"), said(peer_query, "perplexity") if lmplz else None, peer, less_is_better=True),
        Row("the same, our ARPA in KenLM", "", said(our_query, "perplexity"), said(queried.get("kenlm, our ARPA"), "perplexity"), KENLM, less_is_better=True),
        Row("training", "MB/s/core", speed(our_train), speed(peer_train), peer),
        Row("training, peak memory", "GB", our_train.peak_bytes / 1e9, peer_train and peer_train.peak_bytes / 1e9, peer, less_is_better=True),
        Row(f"the same, memory: {memory:,}", "GB", bounded.peak_bytes / 1e9, peer_train and peer_train.peak_bytes / 1e9, peer, less_is_better=True),
        Row("queries", "MB/s/core", speed(our_query), speed(peer_query), KENLM),
    ]  # fmt: skip
    notes = [
        f"{our_train.reported['bytes'] / 1e6:.1f} MB of normalised text, {our_train.reported['tokens']:,} tokens, "
        f"n-grams by order: ours {our_train.reported['ngrams']}, theirs {said(peer_train, 'ngrams')}.",
        "Ours normalises the text once more, which is part of its time in training and in queries; lmplz writes an "
        "ARPA file, ours its own arrays. lmplz sorts in 1 GB; ours in 2 GB unless said. Peak memory holds mapped files.",
        f"Bounded memory changes nothing: {bounded.reported['digest'] == our_train.reported['digest']}.",
    ]
    finish("ngram", rows, args, notes=notes)


main()
