"""The service: pictures in, digits out. It knows the artefact in `models/` and nothing of the code that made it."""

__version__ = "0.1.0"
