"""The parts of :mod:`rpyc.utils.registry`, which is their public place."""
