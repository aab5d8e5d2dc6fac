"""How to talk to Kubernetes: client, informers, work queue, control loop, lease, events, health."""
