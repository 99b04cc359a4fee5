"""The one place where training imports the service: its picture preparation, so that training sees what it will serve.

In the checkout the two are packages side by side; the wheel installs both below `mnist_mlp`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__ == "training":
    from service.doubt import doubts
    from service.image import prepare, read
else:
    from ..service.doubt import doubts
    from ..service.image import prepare, read

__all__ = ["doubts", "prepare", "read"]
