"""What the requests to a board share: the runs, and answers that took seconds."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from darkcovid.serving.board.run_index import RunIndex

REMEMBERED = 32  # answers


class Board:
    """What the requests share.

    Args:
        runs_dir: The folder of all runs.
        images: Whether radiographs are shown.
    """

    def __init__(self, runs_dir: Path, images: bool):
        self.index, self.images = RunIndex(runs_dir), images
        self.session = secrets.token_urlsafe(32)
        self._answers: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def remembered(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """An answer that takes seconds, computed once; one at a time, so that clients cannot take all cores.

        Args:
            key: What it is of, with everything that would change it.
            compute: Computes it.

        Returns:
            The answer.
        """
        with self._lock:
            if key not in self._answers:
                self._answers[key] = compute()
            self._answers.move_to_end(key)
            while len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
            return self._answers[key]
