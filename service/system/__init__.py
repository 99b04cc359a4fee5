"""Ask the operating system: shared and confined memory, files that change, processes, signals.

In: descriptors, paths and numbers. Out: the same. It knows nothing of digits, HTTP or the model.
"""
