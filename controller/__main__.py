"""python -m controller."""

import sys

from controller.program import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
