"""Clips on disk: lists, frames, packs."""
