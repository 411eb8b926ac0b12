"""What the batch job is measured beside."""
