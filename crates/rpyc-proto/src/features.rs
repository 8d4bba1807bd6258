//! Extensions: what a peer may be able to do beyond RPyC's protocol, and how one learns of it.
//!
//! Nothing is exchanged when a connection starts. The first time that a side could use an extension,
//! it sends a request with the handler [`Features`](crate::consts::Handler::Features). A peer with
//! extensions answers a tuple of their names. RPyC answers any unknown handler with an exception, and
//! so says that it has none. The answer holds for the life of the connection.
//!
//! Names that are not known here are ignored, so each side can have extensions that the other lacks.

/// An extension of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Feature {
    /// The handler [`PickleBuffers`](crate::consts::Handler::PickleBuffers).
    PickleBuffers,
    /// The handler [`ReadAhead`](crate::consts::Handler::ReadAhead).
    ReadAhead,
    /// The handler [`Cancel`](crate::consts::Handler::Cancel).
    Cancel,
    /// The handler [`Heartbeat`](crate::consts::Handler::Heartbeat).
    Heartbeat,
    /// The handler [`Batch`](crate::consts::Handler::Batch).
    Batch,
}

impl Feature {
    /// All extensions.
    pub const ALL: &[Self] = &[
        Self::PickleBuffers,
        Self::ReadAhead,
        Self::Cancel,
        Self::Heartbeat,
        Self::Batch,
    ];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PickleBuffers => "pickle_buffers",
            Self::ReadAhead => "read_ahead",
            Self::Cancel => "cancel",
            Self::Heartbeat => "heartbeat",
            Self::Batch => "batch",
        }
    }

    /// The extension with this name, if it is known.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|feature| feature.name() == name)
    }
}

/// A set of extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(u32);

impl Features {
    /// Whether an extension is in the set.
    #[must_use]
    pub const fn contains(self, feature: Feature) -> bool {
        self.0 & (1 << feature as u8) != 0
    }

    /// The set with one more extension.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | (1 << feature as u8))
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        features.into_iter().fold(Self::default(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::{Feature, Features};

    #[test]
    fn a_name_means_one_extension() {
        for &feature in Feature::ALL {
            assert_eq!(Feature::from_name(feature.name()), Some(feature));
            assert!(Features::from_iter([feature]).contains(feature));
            assert!(!Features::default().contains(feature));
        }
        assert_eq!(Feature::from_name("of the future"), None);
    }
}
