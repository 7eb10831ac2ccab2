"""Work on every processor that this process may use, in threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from darkcovid.core.cpu_threads import available_processors
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
