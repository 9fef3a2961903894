"""What a search found, as files: a table, pictures, a film, and one page with all of them."""
