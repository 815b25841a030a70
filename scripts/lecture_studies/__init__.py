"""The studies of the lecture: each runs library code, draws its figures and says what was measured."""
