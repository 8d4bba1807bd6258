//! Which attributes a peer may touch.
//!
//! The decision is the protocol's; what an object has is asked of the face, by [`Subject`]. Asking
//! can run user code (a property), so it happens only where the answer matters.

/// The switches of a connection's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy<'a> {
    /// `allow_all_attrs`: every name is reachable.
    pub all: bool,
    /// `allow_safe_attrs`: the names in `safe_attrs` are reachable.
    pub safe: bool,
    /// `allow_public_attrs`: names that don't start with `_` are reachable.
    pub public: bool,
    /// `exposed_prefix`, if `allow_exposed_attrs`: names that start with it are reachable, with and
    /// without spelling it.
    pub prefix: Option<&'a str>,
}

/// What must be known of an object and a name.
pub trait Subject {
    /// What a failed look yields.
    type Error;

    /// Whether the name is in `safe_attrs`.
    ///
    /// # Errors
    /// The face's.
    fn is_safe(&mut self) -> Result<bool, Self::Error>;

    /// Whether the object has the name itself.
    ///
    /// # Errors
    /// The face's.
    fn has_name(&mut self) -> Result<bool, Self::Error>;

    /// Whether the object has prefix + name.
    ///
    /// # Errors
    /// The face's.
    fn has_twin(&mut self) -> Result<bool, Self::Error>;
}

/// The outcome of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Use the name itself.
    Name,
    /// Use prefix + name.
    Twin,
    /// Access is denied.
    Denied,
}

impl Policy<'_> {
    /// Decides about one name of one object.
    ///
    /// # Errors
    /// The subject's.
    pub fn decide<S: Subject>(&self, name: &str, subject: &mut S) -> Result<Access, S::Error> {
        let plain = self.all
            || self.prefix.is_some_and(|prefix| name.starts_with(prefix))
            || (self.public && !name.starts_with('_'))
            || (self.safe && subject.is_safe()?);
        let twin = self.prefix.is_some_and(|prefix| !prefix.is_empty()) && subject.has_twin()?;
        Ok(match (plain, twin) {
            (true, false) => Access::Name,
            (true, true) if subject.has_name()? => Access::Name,
            (_, true) => Access::Twin,
            (false, false) => Access::Denied,
        })
    }
}
