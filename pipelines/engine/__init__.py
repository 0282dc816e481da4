"""The only rooms that know Bytewax: kernels as steps, the log as source and sink, safe recovery."""
