"""Devices as data: what they can do, what they draw, and where that is published.

Peaks are dense (vendors print twice as much, "with sparsity") and those of PyTorch's defaults: bfloat16 on tensor
cores, float32 on ordinary cores (TF32 is off unless a program asks for it). Memory is what `nvidia-smi` calls the total.
The MFU of a device is one that somebody published for training a language model on it, in the convention of
PaLM's appendix B, and the plan's default; `--mfu` replaces it.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from diglot.base.errors import UserError

HERE = "here"  # what `--cluster` calls the machine at hand, which is measured (plan/here.py)
GIB = 2**30
MIB = 2**20


@dataclass(frozen=True)
class Device:
    """A device of a cluster.

    Attributes:
        name: what `--cluster` calls it.
        title: its full name.
        bfloat16: dense peak, FLOP/s.
        float32: dense peak without TF32, FLOP/s.
        memory: bytes.
        bandwidth: of the memory, bytes/s.
        watts: power limit of the device alone, without its share of the server.
        source: of these figures.
        mfu: model FLOPs utilisation to be assumed.
        mfu_source: who measured it, on what.
        one_process: cores of one machine share a process and its memory; nothing is sharded between them.
    """

    name: str
    title: str
    bfloat16: float
    float32: float
    memory: int
    bandwidth: float
    watts: float
    source: str
    mfu: float
    mfu_source: str
    one_process: bool = False

    def peak(self, precision: str) -> float:
        """Dense peak in FLOP/s for `bfloat16` or `float32`."""
        return self.bfloat16 if precision == "bfloat16" else self.float32


_A100 = {
    "bfloat16": 312e12,
    "float32": 19.5e12,
    "watts": 400.0,
    "source": "NVIDIA A100 Tensor Core GPU datasheet (SXM)",
    "mfu": 0.517,
    "mfu_source": "torchtitan docs/performance.md of 2024: Llama-3 70B, 64 A100, FSDP2, full checkpointing 51.7% "
    "(8B: 58.2%); PolyLM's 13B ran at 33%",
}
_H100 = "torchtitan docs/performance.md: Llama-3.1 8B, 8 and 128 H100, FSDP2 and torch.compile, 39%"
_SMALL_MFU = {"mfu": 0.4, "mfu_source": "no published figure was found: between an A100's and an H100's"}
# Bfloat16 of the RTX cards is that with float32 accumulation, half of what their tensor cores do otherwise.

DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        Device("a100-40", "NVIDIA A100 40 GB SXM", memory=40_960 * MIB, bandwidth=1.555e12, **_A100),  # type: ignore[arg-type]
        Device("a100-80", "NVIDIA A100 80 GB SXM", memory=81_920 * MIB, bandwidth=2.039e12, **_A100),  # type: ignore[arg-type]
        Device(
            "h100",
            "NVIDIA H100 80 GB SXM",
            bfloat16=989e12,
            float32=67e12,
            memory=81_559 * MIB,
            bandwidth=3.35e12,
            watts=700,
            source="NVIDIA H100 Tensor Core GPU datasheet (SXM)",
            mfu=0.39,
            mfu_source=_H100,
        ),
        Device(
            "h200",
            "NVIDIA H200 141 GB SXM",
            bfloat16=989e12,
            float32=67e12,
            memory=143_771 * MIB,
            bandwidth=4.8e12,
            watts=700,
            source="NVIDIA H200 Tensor Core GPU datasheet (SXM)",
            mfu=0.444,
            mfu_source="KempnerForge benchmarks: Llama-3-shaped 13B, 8 H200 on 2 nodes, FSDP, full checkpointing 44.4% "
            "(32 H200, TP 4: 32.7%)",
        ),
        Device(
            "b200",
            "NVIDIA B200 180 GB (HGX, 1000 W)",
            bfloat16=2250e12,
            float32=75e12,
            memory=183_359 * MIB,
            bandwidth=7.7e12,
            watts=1000,
            source="NVIDIA HGX B200 datasheet (eight GPUs, divided)",
            mfu=0.39,
            mfu_source="no published figure was found: the H100's is taken",
        ),
        Device(
            "rtx-4090",
            "NVIDIA GeForce RTX 4090",
            bfloat16=165.2e12,
            float32=82.6e12,
            memory=24_564 * MIB,
            bandwidth=1.008e12,
            watts=450,
            source="NVIDIA Ada GPU Architecture whitepaper, appendix A (bfloat16, float32 accumulation)",
            mfu=0.55,
            mfu_source="nanoGPT issue 182: GPT-2 124M on one card at 29% of an A100's peak, which is 55% of this "
            "card's; several cards without NVLink will be slower",
        ),
        Device(
            "rtx-3090",
            "NVIDIA GeForce RTX 3090",
            bfloat16=71e12,
            float32=35.6e12,
            memory=24_576 * MIB,
            bandwidth=0.936e12,
            watts=350,
            source="NVIDIA Ampere GA102 GPU Architecture whitepaper (bfloat16, float32 accumulation)",
            **_SMALL_MFU,  # type: ignore[arg-type]
        ),
        Device(
            "rtx-5090",
            "NVIDIA GeForce RTX 5090",
            bfloat16=209.5e12,
            float32=104.8e12,
            memory=32_607 * MIB,
            bandwidth=1.792e12,
            watts=575,
            source="NVIDIA RTX Blackwell GPU Architecture whitepaper (bfloat16, float32 accumulation)",
            **_SMALL_MFU,  # type: ignore[arg-type]
        ),
        Device(
            "l4",
            "NVIDIA L4",
            bfloat16=121e12,
            float32=30.3e12,
            memory=23_034 * MIB,
            bandwidth=0.3e12,
            watts=72,
            source="NVIDIA L4 Tensor Core GPU datasheet (half of what it prints with sparsity)",
            **_SMALL_MFU,  # type: ignore[arg-type]
        ),
        Device(
            "a10",
            "NVIDIA A10 (A10G has 5% more float32)",
            bfloat16=125e12,
            float32=31.2e12,
            memory=23_028 * MIB,
            bandwidth=0.6e12,
            watts=150,
            source="NVIDIA A10 Tensor Core GPU datasheet",
            **_SMALL_MFU,  # type: ignore[arg-type]
        ),
        Device(
            "t4",
            "NVIDIA T4 (no bfloat16: computed as float32)",
            bfloat16=8.1e12,
            float32=8.1e12,
            memory=15_360 * MIB,
            bandwidth=0.32e12,
            watts=70,
            source="NVIDIA T4 Tensor Core GPU datasheet; its tensor cores know float16 alone",
            **_SMALL_MFU,  # type: ignore[arg-type]
        ),
        Device(
            "l40s",
            "NVIDIA L40S 48 GB",
            bfloat16=362e12,
            float32=91.6e12,
            memory=46_068 * MIB,
            bandwidth=0.864e12,
            watts=350,
            source="NVIDIA L40S datasheet (half of what it prints with sparsity)",
            **_SMALL_MFU,  # type: ignore[arg-type]
        ),
        Device(
            "cpu",
            "core of an AMD EPYC (Zen 5, AVX-512 bfloat16)",
            bfloat16=344e9,
            float32=85e9,
            memory=4 * GIB,
            bandwidth=10e9,
            watts=4,
            source="Diglot's measurements: matrix products of one core; memory and power are a cloud machine's share "
            "of a core (4 GiB, 4 W)",
            mfu=0.6,
            mfu_source="Diglot's measurements: 48.4M parameters, 512 tokens, one thread, 645 tokens/s in bfloat16; "
            "smaller models reach less",
            one_process=True,
        ),
    )
}


def device_called(title: str, memory: int) -> Device | None:
    """The device that CUDA calls by a title, such as `NVIDIA H100 80GB HBM3`; None where it is not in the table.

    Args:
        title: CUDA's name.
        memory: its bytes; tells cards of one name apart.
    """
    words = re.findall(r"[a-z0-9]+", title.lower())
    named = [each for each in DEVICES.values() if not each.one_process and _model(each) in words]
    return min(named, key=lambda each: abs(each.memory - memory), default=None)


def _model(device: Device) -> str:
    return device.name.removeprefix("rtx-").partition("-")[0]


@dataclass(frozen=True)
class Cluster:
    """Nodes of equal devices."""

    device: Device
    nodes: int = 1
    devices_per_node: int = 1

    @property
    def devices(self) -> int:
        """Devices in all."""
        return self.nodes * self.devices_per_node

    def __str__(self) -> str:
        if self.nodes > 1:
            return f"{self.nodes} nodes × {self.devices_per_node} × {self.device.title}"
        return f"{self.devices} × {self.device.title}" if self.devices > 1 else self.device.title


def parse_cluster(text: str) -> Cluster:
    """Read `h100`, `h100:8` (one node of eight) or `h100:4x8` (four nodes of eight).

    Raises:
        UserError: another form, or an unknown device.
    """
    found = re.fullmatch(r"([A-Za-z0-9-]+)(?::(?:(\d{1,6})x)?(\d{1,6}))?", text.strip())
    if not found:
        raise UserError(
            f"--cluster {text!r}: write DEVICE, DEVICE:COUNT or DEVICE:NODESxCOUNT, such as h100:4x8 for four nodes "
            "of eight H100"
        )
    name, nodes, count = found[1].lower(), int(found[2] or 1), int(found[3] or 1)
    name = name if name in DEVICES else f"rtx-{name}" if f"rtx-{name}" in DEVICES else name
    if name not in DEVICES:
        near = difflib.get_close_matches(name, DEVICES, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"--cluster {text!r}: no device {name!r}; {hint}devices: {', '.join(DEVICES)}; or {HERE}")
    if not nodes or not count:
        raise UserError(f"--cluster {text!r}: a cluster has at least one node of one device")
    return Cluster(DEVICES[name], nodes, count)
