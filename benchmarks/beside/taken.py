"""What a side of a comparison takes; needs nothing but Python, as other environments run it too."""

import json
import sys
import time
from collections.abc import Callable, Mapping


def peak_memory() -> float:
    """Give the most megabytes that this process has held; what getrusage says begins with its parent's where there is /proc."""
    try:
        with open("/proc/self/status") as status:
            (line,) = [line for line in status if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024 / 1e6
    except FileNotFoundError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def seconds(work: Callable[[], object]) -> float:
    """Time one call, in seconds of this process's work: while others have the core, none pass."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def tell(took: float, **values: object) -> None:
    """Print what a side took and what it came to, as `sides.process` reads it."""
    told: Mapping[str, object] = {"seconds": took, "peak": peak_memory(), "values": values}
    print(json.dumps(told))
