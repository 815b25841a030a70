"""Network layers with proven norms, shared by denoisers and classifiers."""
