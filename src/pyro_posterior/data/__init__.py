"""What callers give as data, taken apart: kinds of arrays, sources of batches, arguments, digests."""
