"""Starts recorder processes without importing everything anew: forks one for each line of arguments on stdin."""

import json
import os
import signal
import sys

from hwhup_ros.recorder_node import main

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for the dead.
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os._exit(main(json.loads(line)))
    print(child, flush=True)
