"""Drift: have the features, the scores or the errors left what a model was trained on? One concept a module."""
