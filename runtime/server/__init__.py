"""HTTP: routes, the error shape on every answer, admission, streams, drain."""
