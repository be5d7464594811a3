"""What later visits were worth: returns over the hours between visits, and the value head that foretells them."""
