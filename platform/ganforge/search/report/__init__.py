"""A study's report: table, plots and pages made of its trials."""
