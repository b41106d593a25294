"""The ACPI tables of a PVH domain, after the ACPI Specification 6.3."""
