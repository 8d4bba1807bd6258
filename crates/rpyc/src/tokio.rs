//! Connections that an async runtime drives.
