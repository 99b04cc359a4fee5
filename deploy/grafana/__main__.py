"""`python -m deploy.grafana`: write the dashboards."""

from .dashboards import write

write()
