"""The controller: watches InferenceServices, applies what they mean, tells the truth in their status."""
