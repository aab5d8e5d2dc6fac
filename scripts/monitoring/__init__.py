"""Makes what Grafana and the Prometheus operator read: `python -m scripts.monitoring --write`."""
