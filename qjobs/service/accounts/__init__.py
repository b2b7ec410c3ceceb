"""Users and teams, how they sign in, and what they may use."""
