"""Work in threads: in order, ahead of the caller, and no further than said."""

import threading
import time

import pytest

from darkcovid.core.threads import blocks_ahead


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 9])
def test_blocks_in_order(count):
    blocks = list(blocks_ahead(lambda number: number * 10, range(count), 4))
    assert [number for block in blocks for number in block] == [number * 10 for number in range(count)]
    assert [len(block) for block in blocks] == [4] * (count // 4) + [count % 4] * (count % 4 > 0)


def test_the_next_block_is_worked_on_meanwhile_and_no_other():
    begun, lock = [], threading.Lock()

    def work(number):
        with lock:
            begun.append(number)
        return number

    blocks = blocks_ahead(work, range(9), 3)
    next(blocks)
    deadline = time.monotonic() + 10
    while len(begun) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert sorted(begun) == list(range(6))


def test_an_error_reaches_the_caller():
    def work(number):
        if number == 5:
            raise ValueError("the fifth")
        return number

    blocks = blocks_ahead(work, range(9), 3)
    assert next(blocks) == [0, 1, 2]
    with pytest.raises(ValueError, match="the fifth"):
        list(blocks)
