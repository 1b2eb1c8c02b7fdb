"""`diglot doctor`: what is installed here, what this machine can do, and what is worth knowing before a long run."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.constants import HF_HUB_CACHE
from packaging.requirements import Requirement

from diglot import __version__
from diglot.base.format import gibibytes
from diglot.base.table import Cell, Table, left, right
from diglot.model.flops import measured_peak
from diglot.plan.here import available_memory, free_disk, processor

# What each extra brings, and the packages that do it; tests/test_doctor.py holds them against pyproject.toml.
EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "web": ("reading HTML and WARC", ("trafilatura", "lxml_html_clean", "fastwarc")),
    "language": ("a fastText model that identifies languages", ("fasttext-community",)),
    "quality": ("quality classifiers by fastText", ("fasttext-community",)),
    "translate": ("asking model servers to translate and judge", ("httpx2",)),
    "align": ("self-instruct: asking model servers, ROUGE-L against a pool", ("httpx2", "rapidfuzz")),
    "korean": ("words of Korean in that", ("kiwipiepy",)),
    "cluster": ("curation on many machines, by Ray", ("ray",)),
    "sentencepiece": ("extending a tokenizer.model", ("sentencepiece",)),
    "tensorboard": ("training curves in TensorBoard", ("tensorboard",)),
    "float8": ("training in float8 on GPUs that can", ("torchao",)),
    "adapter": ("training of adapters (LoRA, DoRA), and four-bit weights beside them", ("peft", "bitsandbytes")),
    "evaluate": ("benchmarks of lm_eval; BLEU and chrF", ("lm_eval", "sacrebleu")),
    "report": ("charts in reports", ("plotly",)),
    "gguf": ("GGUF files for llama.cpp", ("gguf",)),
    "browser": ("pages in a real browser: screenshots, tests", ("playwright",)),
    "serve": ("diglot serve and pages", ("starlette", "uvicorn")),
}
BESIDE = {"vllm": "serving on a GPU", "openai": "a client for servers"}
LITTLE_DISK = 20 * 2**30  # checkpoints of a model of a billion parameters take as much
LITTLE_MEMORY = 4 * 2**30  # below this the demo's largest stages swap
SLOW, FAST = 0.9, 1.2  # bfloat16's rate over float32's: below and above these one may say so


@dataclass
class Package:
    """A package: its version, None where it is missing, and what is wrong with it."""

    name: str
    version: str | None
    wrong: str = ""


@dataclass
class Extra:
    """An extra: what it brings, its packages, and whether all are there."""

    name: str
    brings: str
    packages: list[Package]

    @property
    def is_there(self) -> bool:
        """Whether all its packages are installed."""
        return all(package.version for package in self.packages)


@dataclass
class Health:
    """What `diglot doctor` finds. Sizes are in bytes, rates in FLOP/s.

    Attributes:
        advice: what is worth knowing, with a remedy.
        broken: what must be put right before anything runs.
    """

    system: dict[str, Any]
    packages: list[Package]
    extras: list[Extra]
    beside: list[Package]
    folders: dict[str, dict[str, Any]]
    advice: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {**asdict(self), "extras": [{**asdict(extra), "installed": extra.is_there} for extra in self.extras]}


def examine() -> Health:
    """Look at this machine, and measure it for a second or two."""
    extras = [Extra(name, brings, [_package(each) for each in names]) for name, (brings, names) in EXTRAS.items()]
    health = Health(_system(), _required(), extras, [_package(name) for name in BESIDE], _folders())
    _judge(health)
    return health


def _system() -> dict[str, Any]:
    """Processor, memory, GPUs; the rate of matrix products in bfloat16 over that in float32."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpu = torch.device("cpu")
    rates = {
        name: measured_peak(cpu, dtype) for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    }
    gpus = [
        {"name": properties.name, "memory": properties.total_memory}
        for properties in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    ]
    return {
        "diglot": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": cores,
        "memory_available": available_memory(),
        "gpus": gpus,
        "torch_for_gpus": torch.version.cuda or torch.version.hip,
        "rates": rates,
        "bfloat16_over_float32": rates["bfloat16"] / rates["float32"],
    }


def _required() -> list[Package]:
    """What Diglot needs, with what is wrong of it, as the installed package says."""
    try:
        lines = importlib.metadata.requires("diglot") or []
    except importlib.metadata.PackageNotFoundError:  # run from a folder, not installed
        return []
    requirements = [Requirement(line) for line in lines]
    return [
        _package(each.name, each) for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})
    ]


def _package(name: str, requirement: Requirement | None = None) -> Package:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Package(name, None, "missing" if requirement else "")
    fits = requirement is None or requirement.specifier.contains(version, prereleases=True)
    return Package(name, version, "" if fits else f"must be {requirement.specifier}" if requirement else "")


def _folders() -> dict[str, dict[str, Any]]:
    """Where files go: free space, and whether one may write there."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "diglot"
    places = {
        "here": Path.cwd(),
        "temporary files": Path(tempfile.gettempdir()),
        "kernels": home,
        "hub": Path(HF_HUB_CACHE),
    }
    found = {}
    for name, place in places.items():
        nearest = next(folder for folder in [place, *place.parents] if folder.exists())
        found[name] = {"path": str(place), "free": free_disk(place), "writable": os.access(nearest, os.W_OK)}
    found["kernels"]["held"] = _held(home)
    hub = Path(HF_HUB_CACHE)
    found["hub"]["models"] = sum(1 for _ in hub.glob("models--*")) if hub.is_dir() else 0
    return found


def _held(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):  # somebody removes it meanwhile
            total += file.stat().st_size
    return total


def _judge(health: Health) -> None:
    """Fill in what is worth saying."""
    system, advice = health.system, health.advice
    for package in health.packages:
        if package.wrong:
            version = f" {package.version}" if package.version else ""
            health.broken.append(f"{package.name}{version}: {package.wrong}; pip install -c constraints.txt -e .")
    if shutil.which("nvidia-smi") and not system["torch_for_gpus"]:
        advice.append("there is an NVIDIA GPU, but PyTorch is built for CPUs: pip install --force-reinstall torch")
    if not system["gpus"]:
        ratio = system["bfloat16_over_float32"]
        said = f"matrix products in bfloat16 run at {ratio:.2g} times the rate of float32 on this processor"
        if ratio < SLOW:
            advice.append(f"{said}: train with precision: float32")
        elif ratio > FAST:
            advice.append(f"{said}: precision: bfloat16 pays")
    if system["memory_available"] < LITTLE_MEMORY:
        advice.append(f"{_size(system['memory_available'])} of memory are free: little even for small models")
    for name, folder in health.folders.items():
        if not folder["writable"]:
            advice.append(f"{folder['path']} ({name}): cannot be written")
        elif folder["free"] < LITTLE_DISK and name in ("here", "hub"):
            advice.append(f"{folder['path']} ({name}): {_size(folder['free'])} are free")
    if missing := [extra.name for extra in health.extras if not extra.is_there]:
        advice.append(f"not installed: pip install 'diglot[{','.join(missing)}]' brings all that is missing below")


# --- what is shown ----------------------------------------------------------------------------------------------


def views(health: Health) -> list[Table]:
    """The findings as tables for the terminal."""
    system = Table(left("of", "this machine"), title="This machine")
    for name, text in _facts(health.system).items():
        system.add(name, text)
    for name, folder in health.folders.items():
        more = ", ".join(
            [f"{_size(folder['free'])} free"]
            + ([f"{_size(folder['held'])} held"] if folder.get("held") else [])
            + ([f"{folder['models']} models"] if folder.get("models") else [])
            + ([] if folder["writable"] else ["cannot be written"])
        )
        system.add(f"folder: {name}", Cell(folder["path"], more))
    packages = Table([*left("package"), *right("version"), *left("")], title="Packages")
    for package in health.packages:
        packages.add(package.name, package.version or "–", Cell(package.wrong, style="bad"))
    extras = Table(left("extra", "brings", "installed"), title="Extras")
    for extra in health.extras:
        there = " ".join(f"{each.name} {each.version}" for each in extra.packages if each.version)
        lacking = ", ".join(each.name for each in extra.packages if not each.version)
        state = Cell(there, f"lacks {lacking}", "caution") if lacking else Cell(there, style="good")
        extras.add(extra.name, extra.brings, state)
    for package in health.beside:
        extras.add(f"({package.name})", BESIDE[package.name], package.version or "–")
    return [system, packages, extras]


def _size(size: float) -> str:
    return f"{gibibytes(size)} GiB"


def _facts(system: dict[str, Any]) -> dict[str, str]:
    gpus = ", ".join(f"{gpu['name']} with {_size(gpu['memory'])}" for gpu in system["gpus"])
    rates = {name: f"{rate / 1e9:,.0f} GFLOP/s" for name, rate in system["rates"].items()}
    return {
        "Diglot": system["diglot"],
        "Python": f"{system['python']} on {system['platform']}",
        "processor": f"{system['cores']} cores of {system['processor']}",
        "memory": f"{_size(system['memory_available'])} free",
        "GPU": gpus or ("none" if system["torch_for_gpus"] else "none (PyTorch is built for CPUs)"),
        "matrix products": f"float32 {rates['float32']}, bfloat16 {rates['bfloat16']}, measured now",
    }
