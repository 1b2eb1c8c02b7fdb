"""`diglot serve`: a model behind OpenAI's API, by vLLM where there is a GPU and vLLM, else by the engine of this folder."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Literal

import torch

from diglot.base.errors import UserError
from diglot.base.screen import say
from diglot.evaluate.language_model import LanguageModel
from diglot.serve.engine import Engine
from diglot.serve.web import Guard, is_loopback, listen

KEY = "DIGLOT_API_KEY"  # the environment variable that holds the key
VLLM_KEY = "VLLM_API_KEY"  # vLLM's own; arguments of a command can be read by all users of a machine
Kind = Literal["auto", "own", "vllm"]


def serve(
    folder: Path,
    *,
    name: str,
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    concurrency: int,
    waiting: int,
    engine: Kind,
) -> None:
    """Serve a model until Ctrl-C.

    Args:
        folder: of the model.
        name: what clients call it.
        host: to listen on.
        port: to listen on; 0 for a free one.
        allow_host: names beside this machine's that requests may ask for; see `Guard`.
        concurrency: answers computed at a time.
        waiting: answers that may wait beside those, before requests are refused with 429.
        engine: `vllm`, `own`, or `auto`: vLLM where there is a GPU and vLLM is installed.

    Raises:
        UserError: no such model, an impossible key, a port that cannot be had, or vLLM is asked for and not there.
    """
    key = os.environ.get(KEY, "").strip()
    if not key.isascii() or not key.isprintable():
        raise UserError(f"${KEY}: holds characters that are in no key; set it to the key alone")
    if not (key or is_loopback(host)):
        say(f"note: --host {host} without ${KEY}: whoever reaches this machine can use the model", error=True)
    has_vllm = importlib.util.find_spec("vllm") is not None
    if engine == "vllm" and not has_vllm:
        raise UserError("--engine vllm: vLLM is not installed: pip install vllm, or leave --engine out")
    if engine == "vllm" or (engine == "auto" and has_vllm and torch.cuda.is_available()):
        arguments = vllm_arguments(folder, name, host, port, concurrency)
        os.execve(sys.executable, arguments, vllm_environment(key))  # noqa: S606  (in place of this process, for good)
    try:
        from diglot.serve.api import make_app  # extra: serve
    except ImportError as error:
        raise UserError("a server needs starlette and uvicorn: pip install 'diglot[serve]'") from error
    model = LanguageModel.load(folder)
    running = Engine(model, concurrency, waiting)
    app = Guard(make_app(model, running, name, key), names=allow_host)
    try:
        listen(app, host, port, lambda address: _opened(address, name, running, bool(key)))
    finally:
        running.close()


def _opened(address: str, name: str, engine: Engine, has_key: bool) -> None:
    how = {
        "together": f"{engine.concurrency} answers at a time, in one batch",
        "alone": "answers in turn, a token each: this architecture is not computed in batches here",
        "anew": "answers in turn, every token from the beginning: nothing is kept of this architecture here",
    }
    say(f"{name}: {address}/v1 (key: {f'${KEY}' if has_key else 'none'}); {how[engine.forward.way]}")
    say("Ctrl-C ends it")


def vllm_arguments(folder: Path, name: str, host: str, port: int, concurrency: int) -> list[str]:
    """The command of vLLM's own server, with our arguments.

    Its `--generation-config vllm` draws from the model's distribution unless a request says otherwise, as ours does.
    """
    return [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--served-model-name", name,
        "--host", host, "--port", str(port), "--max-num-seqs", str(concurrency), "--generation-config", "vllm",
    ]  # fmt: skip


def vllm_environment(key: str) -> dict[str, str]:
    """The environment of this process, with the key where vLLM looks for it."""
    return {**os.environ, **({VLLM_KEY: key} if key else {})}
