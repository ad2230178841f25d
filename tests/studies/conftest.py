"""Muon in double precision."""

from tests.muon import exact_muon as exact_muon
