"""Each package alone, or entered by its door."""
