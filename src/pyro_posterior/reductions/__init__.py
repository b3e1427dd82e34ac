"""Reductions of draws: arrays in, arrays out; nothing of Pyro in here."""
