"""How good scores are: labelled data sets, areas under curves, and the untrained baseline beside them."""
