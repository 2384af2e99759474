"""What is measured, against what. Nothing of the product imports from here."""
