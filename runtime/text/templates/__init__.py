"""Chat templates: Jinja programs that come with a model, run in a process of their own that can be killed."""
