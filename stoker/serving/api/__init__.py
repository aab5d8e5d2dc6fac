"""The API's objects, typed and parsed once."""
