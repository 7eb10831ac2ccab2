"""How is a fitted model used? Predictions, explanations, single-file exports, and a server with a page."""
