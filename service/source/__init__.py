"""Versions from elsewhere: a process of its own pulls them into the model's folder, which is then their cache.

The service's other processes follow that folder, and import no library of a source.
"""
