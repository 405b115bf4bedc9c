"""The world model: predicts the next frame, reward and continuation. Knows no episodes."""
