"""Adapters that make a simulator a Gymnasium environment. Nothing here knows the model."""
