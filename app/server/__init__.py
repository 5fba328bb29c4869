"""uvicorn with bounds on each connection, the stop of streams and long polls, and the runner."""
