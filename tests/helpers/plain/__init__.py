"""What is tested, again and slowly: one row at a time, by the words of the pages."""
