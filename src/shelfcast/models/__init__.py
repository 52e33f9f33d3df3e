"""Forecasters, all behind one contract."""
