"""``python -m indexer [rebuild | verify]``."""

import sys

from indexer.main import main

sys.exit(main(tuple(sys.argv[1:])))
