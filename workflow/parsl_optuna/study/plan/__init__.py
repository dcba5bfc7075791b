"""From a configuration to studies. Pure."""
