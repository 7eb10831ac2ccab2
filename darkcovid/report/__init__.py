"""How does a person see it? Tables, plots and progress."""
