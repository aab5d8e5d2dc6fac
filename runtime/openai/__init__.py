"""OpenAI's API over deltas of tokens: the same for every engine, and without HTTP."""
