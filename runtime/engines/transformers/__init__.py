"""The transformers backend: any model of AutoModelForCausalLM, batched where its cache allows."""
