"""Run the service's processes: listening sockets, workers, their supervisor, the watchdog, the shutdown.

In: settings. Out: a service that answers until a signal ends it, and an exit code. It knows no route.
"""
