"""Figures: one canvas, and a drawing for each result."""
