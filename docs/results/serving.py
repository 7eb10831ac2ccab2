"""How much the service bears: many requests for one image each from several clients at once, over real sockets.

`python docs/results/serving.py ADDRESS MODEL FOLDER REQUESTS CLIENTS PID` prints JSON; PID is the server's,
whose memory is watched.
"""

import json
import statistics
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local

import psutil
import requests

HERE = local()


def main(address: str, model: str, folder: Path, count: int, clients: int, pid: int) -> None:
    images = [path.read_bytes() for path in sorted(folder.iterdir())]
    server, memory = psutil.Process(pid), []

    def one(number: int) -> tuple[int, float, int]:
        if not hasattr(HERE, "session"):
            HERE.session = requests.Session()
        if number % (count // 10) == 0:
            memory.append(server.memory_info().rss >> 20)
        began = time.perf_counter()
        files = {"file": images[number % len(images)]}
        answer = HERE.session.post(f"{address}/v1/models/{model}:predict", files=files, timeout=60)
        return answer.status_code, time.perf_counter() - began, len(answer.json().get("predictions", []))

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(one, range(count)))
    seconds = time.perf_counter() - started
    times = sorted(row[1] for row in found)
    print(
        json.dumps(
            {
                "requests": count,
                "clients": clients,
                "statuses": Counter(row[0] for row in found),
                "answered": sum(row[2] for row in found),
                "images_per_second": round(count / seconds, 1),
                "median_seconds": round(statistics.median(times), 3),
                "p99_seconds": round(times[int(0.99 * count)], 3),
                "longest_seconds": round(times[-1], 3),
                "memory_mb": [*memory, server.memory_info().rss >> 20],
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *(int(word) for word in sys.argv[4:]))
