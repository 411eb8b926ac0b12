"""Trained models in formats that need a small runtime only; each is checked on real rows before it takes its place."""
