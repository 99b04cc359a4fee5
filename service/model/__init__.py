"""One version of the model: its files, their checks, and the loaded classifier.

In: the bytes of a version's files. Out: a `Classifier`, or one `ModelError`. It does not know which version serves.
"""
