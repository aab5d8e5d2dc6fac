"""The gateway's control plane: tells Envoy over xDS which host leads to which pods."""
