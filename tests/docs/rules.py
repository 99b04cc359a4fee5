"""`python -m tests.docs.rules`: write the rules of deploy/prometheus as a PrometheusRule of deploy/kubernetes.

In: the groups of slo.yml and alerts.yml. Out: the same groups in the resource that the Prometheus operator reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "deploy" / "prometheus" / name for name in ("slo.yml", "alerts.yml")]
RULE = ROOT / "deploy" / "kubernetes" / "overlays" / "monitoring" / "prometheusrule.yaml"
HEAD = "# The rules of deploy/prometheus, written by `python -m tests.docs.rules`.\n"


class _Dumper(yaml.SafeDumper):
    """Writes every value where it stands, without anchors, and texts of several lines as such."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - yaml calls it with each value
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def rule() -> str:
    """Return the resource as YAML."""
    groups = [group for source in SOURCES for group in yaml.safe_load(source.read_text())["groups"]]
    resource: dict[str, Any] = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "mnist-mlp", "labels": {"app.kubernetes.io/name": "mnist-mlp"}},
        "spec": {"groups": groups},
    }
    return HEAD + yaml.dump(resource, Dumper=_Dumper, sort_keys=False, width=200)


if __name__ == "__main__":
    RULE.write_text(rule())
