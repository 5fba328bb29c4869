"""The figures of issue and manual: every speed a ratio of two sides measured in the same run."""
