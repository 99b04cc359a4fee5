"""Use the operating system: memory, files, processes and signals.

In: descriptors, paths and numbers. Out: the same. It knows nothing of pictures, HTTP or models.
"""
