"""Run calls as jobs of a Slurm cluster."""
