"""Work on every core, in threads."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor


def map_in_threads(work: Callable, items: Iterable) -> list:
    """Do work on every core; Pillow and hashlib release the interpreter lock.

    Args:
        work: Takes one item.
        items: Any number of them.

    Returns:
        Results in order.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, items))
