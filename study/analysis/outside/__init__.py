"""Evidence from scores that were measured elsewhere: a table in a file, or the runs of an MLflow experiment."""
