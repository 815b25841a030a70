"""Image in, image out: restoration with its proof attached."""
