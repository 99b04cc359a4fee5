"""A fault to inject: with this folder on PYTHONPATH, SIGUSR1 blocks a process's main thread, and so its event loop."""

import signal
import time

signal.signal(signal.SIGUSR1, lambda *_: time.sleep(600))
