"""Every operation of the service, described once: a function gives the `Call`, others send it."""
