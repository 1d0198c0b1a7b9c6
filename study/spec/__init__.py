"""TOML to a validated study."""
