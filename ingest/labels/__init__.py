"""Labels of a study from its indexing and report, and the explanation of these labels."""
