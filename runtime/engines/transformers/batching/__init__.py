"""Several sequences in one call of the model, or one after the other where the model cannot."""
