"""The wire: what requests may hold (pydantic models) and what answers hold (typed dicts).

Answers are built from the core's values by one function per shape and are never validated while
serving; the contract tests hold them against the published schema instead.
"""
