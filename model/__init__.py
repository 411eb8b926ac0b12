"""The learning side: from shards to a trained, evaluated, registered recogniser."""
