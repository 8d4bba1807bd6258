"""The parts of :mod:`rpyc.core.stream`, which is their public place."""
