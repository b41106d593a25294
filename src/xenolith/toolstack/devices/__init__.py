"""Devices as the toolstack sees them: their nodes in xenstore, their files, and who makes backends of them."""
