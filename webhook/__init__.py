"""The validating webhook: the same rules as the controller's, asked before an object is stored."""
