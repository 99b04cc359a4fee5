"""Run the service's processes: the listening socket, workers, their parent, the watchdog, the end.

In: settings. Out: a service that answers until a signal ends it, and an exit code. It knows no route.
"""
