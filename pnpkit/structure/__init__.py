"""Small studies of networks that preserve structure: a norm, a mass, a constraint or an energy."""
