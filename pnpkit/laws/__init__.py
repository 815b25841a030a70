"""Laws that operators, maps and denoisers are checked by."""
