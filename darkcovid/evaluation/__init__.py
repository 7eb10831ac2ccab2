"""How good, how sure, by what right? Plain numbers; no plotting."""
