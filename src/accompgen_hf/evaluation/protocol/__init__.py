"""Systems x test sets x metrics: inputs, outputs, scores, a table."""
