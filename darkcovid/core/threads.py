"""Work on every processor that this process may use, in threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from darkcovid.core.available_processors import available_processors
from darkcovid.core.slow_progress import slow_progress


def map_in_threads(work: Callable, items: Sequence, doing: str = "") -> list:
    """Do work on every processor; Pillow and hashlib release the interpreter lock.

    Args:
        work: Takes one item.
        items: Any number of them.
        doing: Said beside a bar once it takes longer than two seconds, such as "reading images"; '': nothing is shown.

    Returns:
        Results in order.
    """
    with ThreadPoolExecutor(available_processors()[0]) as pool:
        results = pool.map(work, items)
        return list(slow_progress(doing, results, len(items)) if doing else results)


def blocks_ahead(work: Callable, items: Sequence, size: int) -> Iterator[list]:
    """Do work on every processor, in blocks; the next block is worked on while the caller is busy with the one it was given.

    Args:
        work: Takes one item.
        items: Any number of them.
        size: Items per block; results of two blocks are held at most.

    Yields:
        Results of a block, in order.
    """
    with ThreadPoolExecutor(available_processors()[0]) as pool:

        def begin(start: int) -> list[Future]:
            return [pool.submit(work, item) for item in items[start : start + size]]

        block = begin(0)
        try:
            for start in range(size, len(items) + size, size):
                done = [future.result() for future in block]
                block = begin(start)
                yield done
        finally:
            for future in block:
                future.cancel()
