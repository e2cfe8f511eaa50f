"""``python -m keeper [once [--dry-run]]``."""

import sys

from keeper.main import main

sys.exit(main())
