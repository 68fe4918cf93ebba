"""`python -m hwhup_core.cli`."""

import sys

from hwhup_core.cli.main import main

sys.exit(main())
