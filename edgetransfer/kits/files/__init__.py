"""The code of kits, a folder each, as it ships: what ends in ``.j2`` is a template."""
