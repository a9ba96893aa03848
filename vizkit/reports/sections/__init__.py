"""The sections of a report: one file each, from a study to text, figures and tables."""
