"""The contexts in which a process imports its app."""

from __future__ import annotations

import subprocess
import sys

from tests.support.service import ROOT

PROGRAM = """
from service.process.imports import without_validators
with without_validators():
    from fastapi.openapi.models import Contact
from pydantic import BaseModel
class After(BaseModel):
    pass
print(Contact.__pydantic_complete__, After.__pydantic_complete__, Contact(name="she").name)
"""


def test_validators_are_built_when_they_are_needed() -> None:
    """FastAPI's models have none until one is used; models that are made afterwards have theirs at once."""
    found = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "False True she\n"
