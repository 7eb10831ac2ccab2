"""Many trials of one arm on inner folds of its training set, and the winner against the plain recipe on what was locked."""
