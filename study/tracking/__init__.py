"""Mirrors of a study in MLflow and Optuna; nothing is read back from them."""
