"""The client with `async` methods. `scripts/client` makes the one with plain methods from it."""
