"""From an InferenceService and a runtime to a pod template."""
