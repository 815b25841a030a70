"""Building blocks with proven norms, shared by denoisers and classifiers."""
