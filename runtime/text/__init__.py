"""Between text and tokens: prompts in, increments of text out, stop strings."""
