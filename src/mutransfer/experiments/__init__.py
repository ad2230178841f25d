"""Experiments that mutransfer brings along: the demo."""
