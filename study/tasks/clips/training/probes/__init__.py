"""Short trainings that are thrown away: one batch before a study, and determinism."""
