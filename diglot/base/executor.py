"""Executors: where the tasks of the stage run, on the threads of this machine or on a Ray cluster.

A task is a function of a module and one argument that pickles; its results are small, and its data goes through
files in the scratch folder (on a cluster, a folder that all nodes share). Files appear whole (`files.atomic`), so a
task that is run again, after its worker or its node was killed, changes nothing. Results come in the order of
tasks. Hence one corpus, to the byte, from one thread or a thousand nodes.

    with open_executor("threads", workers=2, tick=show_progress) as executor:
        for result in executor.map(function, tasks): ...

Ray: `RAY_ADDRESS` names the cluster; without it Ray is started on this machine.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from typing import Any, Protocol, TypeVar

from diglot.base.errors import UserError
from diglot.base.notice import say_at_once

Task = TypeVar("Task")
Result = TypeVar("Result")
TICK_SECONDS = 0.5
CONNECT_SECONDS = 10
RETRIES = 20  # of a task whose worker or node died; what a task itself raises is not retried

_stopping = threading.Event()


class Executor(Protocol):
    """Runs tasks side by side."""

    workers: int

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """The results of a function on tasks, in their order; few more tasks than workers are held at a time."""


@contextlib.contextmanager
def open_executor(kind: str, workers: int, tick: Callable[[], None]) -> Iterator[Executor]:
    """An executor.

    Args:
        kind: `threads` or `ray`.
        workers: threads; a cluster has its own number.
        tick: called about twice a second while results are awaited.

    Raises:
        UserError: Ray is not installed, or its cluster cannot be reached.
    """
    if kind == "ray":
        yield from _open_ray(tick)
    else:
        try:
            with ThreadPoolExecutor(workers) as pool:
                try:
                    yield _Threads(pool, workers, tick)
                except BaseException as error:
                    _stopping.set()  # before the pool waits for its tasks
                    if isinstance(error, KeyboardInterrupt):
                        say_at_once("stopping: waiting for the parts of files that are in hand")
                    raise
        finally:
            _stopping.clear()  # no task is left; the next stage of this process was not interrupted


def check_stopping() -> None:
    """End a task early where the stage has been interrupted: long tasks call it now and then.

    Raises:
        InterruptedError: it has.
    """
    if _stopping.is_set():
        raise InterruptedError("the stage was interrupted")


class _Threads:
    def __init__(self, pool: ThreadPoolExecutor, workers: int, tick: Callable[[], None]):
        self.pool, self.workers, self.tick = pool, workers, tick

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        running: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                running.append(self.pool.submit(function, task))
                if len(running) > self.workers:
                    yield self._result(running.popleft())
            while running:
                yield self._result(running.popleft())
        finally:
            for future in running:
                future.cancel()

    def _result(self, future: Future[Result]) -> Result:
        while True:
            try:
                return future.result(TICK_SECONDS)
            except TimeoutError:
                if future.done():  # the task itself raised it
                    raise
                self.tick()


def _open_ray(tick: Callable[[], None]) -> Iterator[Executor]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # extra: cluster
    except ImportError as error:
        raise UserError("executor: ray: Ray is not installed; pip install 'diglot[cluster]'") from error
    ours = not ray.is_initialized()
    address = os.environ.get("RAY_ADDRESS")
    if ours:
        try:
            if address and "://" not in address and ":" in address:  # Ray itself would try for minutes
                host, _, port = address.rpartition(":")
                socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
            ray.init(address=address, log_to_driver=False, logging_level="error", include_dashboard=False)
        except Exception as error:  # what Ray raises differs with what is wrong
            reason = str(error).strip().split("\n")[0]
            raise UserError(
                f"executor: ray: cannot reach a cluster ({reason}); start one (ray start --head) and set RAY_ADDRESS"
            ) from error
    try:
        yield _Ray(ray, tick)
    finally:
        if ours:
            ray.shutdown()


class _Ray:
    def __init__(self, ray: Any, tick: Callable[[], None]):
        self.ray, self.tick = ray, tick
        self.workers = max(int(ray.cluster_resources().get("CPU", 1)), 1)

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        remote = self.ray.remote(num_cpus=1, max_retries=RETRIES)(function)
        running: deque[Any] = deque()
        for task in tasks:
            running.append(remote.remote(task))
            if len(running) > 2 * self.workers:
                yield self._result(running.popleft())
        while running:
            yield self._result(running.popleft())

    def _result(self, reference: Any) -> Any:
        while not self.ray.wait([reference], timeout=TICK_SECONDS)[0]:
            self.tick()
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, UserError) else error) from None
        except self.ray.exceptions.RayError as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(
                f"executor: ray: a task was lost ({reason}); run the same command again: finished shards are kept"
            ) from error
