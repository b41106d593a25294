"""GRUB's languages: the scripts of GRUB 2 (grub.cfg), boot loader specification entries, grub-legacy."""
