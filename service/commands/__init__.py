"""The commands of `python -m service`: serve, status, check, canary, rollback, keys, batch.

In: words of a command line. Out: an exit code, lines for people, and the files that running services follow. A command
knows no request.
"""
