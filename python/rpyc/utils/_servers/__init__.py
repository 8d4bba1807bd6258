"""The parts of :mod:`rpyc.utils.server`, which is their public place."""
