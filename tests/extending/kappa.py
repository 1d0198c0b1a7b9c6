"""A metric of one's own: chance-corrected agreement."""

from study import component


@component("metric", label="kappa", unit="", scale=1.0, low=-1.0, high=1.0)
def cohens_kappa(labels, logits):
    """Cohen's kappa: agreement beyond chance, 1 for perfect and 0 for guessing."""
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(labels, logits.argmax(axis=1)))
