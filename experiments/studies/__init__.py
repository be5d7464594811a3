"""The studies behind the claims in ``docs/studies``: each is a command. May import everything."""
