"""`python -m deploy.grafana`: write the dashboards."""

from .build import write

write()
