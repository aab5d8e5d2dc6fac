"""python -m controller."""

import os
import signal
import sys

if __name__ == "__main__":
    # The kernel drops signals that the first process of a container has no handler for, and loading takes a
    # second: a pod deleted meanwhile would wait out its grace period. Nothing has begun yet, so nothing ends.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    from controller.program import main

    sys.exit(main(sys.argv[1:]))
