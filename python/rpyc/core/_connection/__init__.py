"""What :class:`rpyc.core.protocol.Connection` is made of."""
