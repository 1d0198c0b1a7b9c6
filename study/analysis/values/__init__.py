"""What runs measure, as values of variants and contrasts: scores, parts of the test split, measures, predictions."""
