"""The dashboard: pages drawn on the server that work without JavaScript. Shows what /v1 serves, computes
nothing new."""
