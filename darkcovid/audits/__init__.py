"""Whether results can be believed: leakage, confounders, shortcuts, the checks and the reporting guideline."""
