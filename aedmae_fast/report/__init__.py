"""What a person sees of the scores: the command's lines and table, plots."""
