"""Every benchmark, with its peers. ``python -m bench.<subject>.main``."""
