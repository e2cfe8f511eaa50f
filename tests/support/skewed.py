"""A process whose host's clock is wrong: ``python -m tests.support.skewed SECONDS MODULE …``.

Runs ``python -m MODULE …`` with every wall clock of the standard library ahead by so many seconds
(below zero: behind). The steady clock is as it is, as on a host whose clock somebody has set.
"""

import runpy
import sys
import time


def main() -> None:
    """Set the clock, then become the module."""
    ahead_s, module, *arguments = sys.argv[1:]
    real, real_ns, ahead = time.time, time.time_ns, float(ahead_s)
    time.time = lambda: real() + ahead
    time.time_ns = lambda: real_ns() + int(ahead * 1e9)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
