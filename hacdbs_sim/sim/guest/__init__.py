"""The guest that writes by itself: workloads, virtual time, and what events cost in it."""
