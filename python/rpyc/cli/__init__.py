"""The commands ``rpyc_classic`` and ``rpyc_registry``."""
