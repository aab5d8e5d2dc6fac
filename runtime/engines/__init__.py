"""Engines: what generates tokens behind the OpenAI layer."""
