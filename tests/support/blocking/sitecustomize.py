"""Faults to inject, with this folder on PYTHONPATH: signals that block a process's main thread, and so its event loop.

SIGUSR1 blocks it while other threads run; SIGUSR2 never lets go of the interpreter, so that no thread runs.
"""

import ctypes
import signal
import time

signal.signal(signal.SIGUSR1, lambda *_: time.sleep(600))
signal.signal(signal.SIGUSR2, lambda *_: ctypes.PyDLL(None).sleep(600))
ours = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
real = signal.signal
# A worker forgets its supervisor's handlers, and the supervisor has others.
signal.signal = lambda number, handler: real(number, ours.get(number, handler))  # type: ignore
