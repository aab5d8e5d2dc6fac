"""What the webhook would say to YAML files, without a cluster."""
