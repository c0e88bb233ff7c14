"""Pages and figures on corpus, annotators and results."""
