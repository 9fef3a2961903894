"""The commands for Python and notebooks: what `import ganforge` offers by name."""
