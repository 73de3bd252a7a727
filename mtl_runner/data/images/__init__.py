"""Images of digits and what is made of them."""
