"""Tools: what a request offers, the form in which a model calls them, and calls found in its text."""
