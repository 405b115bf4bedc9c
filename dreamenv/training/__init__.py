"""Training of world models: tokenizer first, then dynamics on its latents."""
