"""uvicorn with bounds on each connection, the stop of what does not end by itself, and the runner."""
