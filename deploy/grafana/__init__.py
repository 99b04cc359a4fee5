"""Dashboards for Grafana, as programs that write their JSON."""
