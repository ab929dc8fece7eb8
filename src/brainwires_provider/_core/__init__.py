"""The request path: what happens between a call of the client and the events of its answer."""
