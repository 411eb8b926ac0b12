"""Wiring of the data side to Spark: the only package that imports pyspark."""
