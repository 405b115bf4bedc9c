"""The network: layers, attention, scan, conditioning, tokenizer and heads."""
