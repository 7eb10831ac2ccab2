"""Work on every core, in threads."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor


def map_in_threads(work: Callable, items: Iterable) -> list:
    """`work` over `items` on every core, results in order. Pillow and hashlib let go of the interpreter lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, items))
