"""Commands that speak to a running service, one module per subject.

They are loaded when they are called: `healthcheck` runs all day and needs neither httpx nor numpy.
"""
