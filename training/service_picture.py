"""The only import of the service: its picture preparation and its warnings, so that training measures what it serves.

In the checkout the two packages are side by side; the wheel installs both below `mnist_mlp`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__ == "training":
    from service.model.uncertainty import warnings_for
    from service.picture.prepare import prepare, read
else:
    from ..service.model.uncertainty import warnings_for
    from ..service.picture.prepare import prepare, read

__all__ = ["prepare", "read", "warnings_for"]
