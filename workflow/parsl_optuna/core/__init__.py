"""Records, identity, configuration and errors: what every other room shares."""
