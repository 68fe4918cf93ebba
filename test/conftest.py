"""Settings that must be in the environment before any test module is imported."""

import os

# Jazzy does not check message fields by default: a wrong type would be published as garbage, and no test would fail.
os.environ.setdefault('ROS_PYTHON_CHECK_FIELDS', '1')
