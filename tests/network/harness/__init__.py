"""Real client kernels and a real file server, in three QEMU machines, with faults at chosen steps."""
