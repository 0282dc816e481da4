"""Ground floor: schemas, instruments and kernels. Pure: no clock, no I/O, no stream engine."""
