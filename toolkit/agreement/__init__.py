"""Whether colour and thermal pictures of one scene look alike to a network, and to what is made by hand."""
