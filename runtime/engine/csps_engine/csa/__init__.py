"""Communication-efficient sparse attention: which remote keys and values a rank fetches, and how."""
