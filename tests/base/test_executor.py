"""The executors run the same tasks to the same results; files they write are whole or absent."""

import threading
import time

import pytest

from diglot.base.errors import UserError
from diglot.base.executor import check_stopping, open_executor


def square(number):
    time.sleep(0.02 * (number % 3))
    return number * number


def fail_at_three(number):
    if number == 3:
        raise UserError("three is not allowed")
    return number


def wait_to_be_stopped(number):
    for _ in range(500):
        check_stopping()
        time.sleep(0.01)
    return number


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_tasks(workers):
    with open_executor("threads", workers, lambda: None) as executor:
        assert list(executor.map(square, range(20))) == [number * number for number in range(20)]


def test_few_more_tasks_than_workers_are_held():
    taken = []

    def tasks():
        for number in range(100):
            taken.append(number)
            yield number

    with open_executor("threads", 2, lambda: None) as executor:
        results = executor.map(square, tasks())
        next(results)
        assert len(taken) <= 4


def test_an_error_of_a_task_is_the_stages():
    with pytest.raises(UserError, match="three"), open_executor("threads", 2, lambda: None) as executor:
        list(executor.map(fail_at_three, range(9)))
    check_stopping()  # what comes next in this process was not interrupted


def test_a_tick_comes_while_results_are_awaited():
    ticks = []
    with open_executor("threads", 1, lambda: ticks.append(1)) as executor:
        list(executor.map(time.sleep, [1.3]))
    assert len(ticks) >= 2


def test_an_interrupted_stage_does_not_wait_for_long_tasks_and_says_what_it_does(capfd):
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), open_executor("threads", 2, lambda: None) as executor:
        results = executor.map(wait_to_be_stopped, range(4))
        threading.Timer(0.2, lambda: None).start()
        del results
        raise KeyboardInterrupt
    assert time.monotonic() - began < 4
    assert capfd.readouterr().err == "stopping: waiting for the parts of files that are in hand\n"


def test_a_cluster_out_of_reach_is_said_plainly(monkeypatch):
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match="RAY_ADDRESS"), open_executor("ray", 1, lambda: None):
        pass
