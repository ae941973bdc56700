"""Procedural songs: composition, singer, band and the sound of both."""
