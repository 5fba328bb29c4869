"""uvicorn with bounds on each connection, and its runner."""
