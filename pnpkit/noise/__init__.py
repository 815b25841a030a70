"""Noise as instruments have it: its variance by the reading, estimated, and the pixels that say less than a number."""
