"""What pygrub does: find a kernel in a guest's own disk, by the files of the guest's boot loader."""
