"""The sliced program: record one sample, keep what was asked for, batch it over draws, replay it."""
