"""Settings that must be in the environment before any test module is imported."""

import os
from pathlib import Path

# Jazzy does not check message fields by default: a wrong type would be published as garbage, and no test would fail.
os.environ.setdefault('ROS_PYTHON_CHECK_FIELDS', '1')

# What the user of this machine has set must not decide a test; a test that needs settings sets these itself.
NOWHERE = Path(__file__).parent / 'no_such_folder'
os.environ['HWHUP_SETTINGS'] = str(NOWHERE / 'settings.yaml')
os.environ['HWHUP_ASSETS'] = str(NOWHERE / 'assets')
