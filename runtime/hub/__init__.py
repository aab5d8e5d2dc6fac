"""The hub: finding a model in the local cache, downloading it, and the stand-in where there is no hub."""
