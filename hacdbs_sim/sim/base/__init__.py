"""The vocabulary: bits, bitmap words, units, errors."""
