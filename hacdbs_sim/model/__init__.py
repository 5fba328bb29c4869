"""Every action, query, outcome, specification and report, declared once."""
