"""Change what running services do, from a shell: try a canary, roll back, make keys.

In: command lines. Out: files that every worker follows, and an exit code. It runs no server.
"""
