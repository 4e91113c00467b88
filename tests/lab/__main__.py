"""``python -m lab start``, or `make lab`; ``python -m lab VERB …`` from another terminal."""

import sys

from lab.commands import run

sys.exit(run(sys.argv[1:]))
