"""Responses over persistent WebSockets: connections, their lanes, and requests that continue what a server holds."""
