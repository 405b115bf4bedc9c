"""The dream: a trained world model behind Gymnasium's contract."""
