"""Structure worth preserving: small studies of networks that keep a norm, a mass, a constraint or an energy."""
