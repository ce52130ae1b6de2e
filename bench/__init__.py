import world_models  # noqa: F401  whose part this is, also where it is imported by its flat name
