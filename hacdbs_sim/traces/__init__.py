"""Traces: which pages a real program wrote in each interval of its run."""
