"""Several settings of one stage, trained as one program: lanes."""
