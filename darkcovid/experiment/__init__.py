"""A recipe's run: folder, inputs, arms, aggregation, comparison."""
