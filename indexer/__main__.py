"""``python -m indexer [rebuild]``."""

import sys

from indexer.main import main

sys.exit(main(tuple(sys.argv[1:])))
