import world_models  # noqa: F401  the package, also where this is imported by its flat name
