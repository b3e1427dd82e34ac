"""What a model is, read from what it did."""
