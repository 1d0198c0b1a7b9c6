"""Components as their source declares them: parameters, names, declarations; nothing is imported."""
