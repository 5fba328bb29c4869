"""The live machines: sessions, ids, locks and limits. The imperative shell around the core."""
