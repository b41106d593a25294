"""What `xl strace` shows: the hypercalls and events of a domain, decoded, in lines of text."""
