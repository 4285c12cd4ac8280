"""Turn tokens and attention into regions: arrays in, arrays out."""
