"""Pictures and reports, drawn from a results folder."""
