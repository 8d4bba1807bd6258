//! The table of objects that the peer holds references to.
//!
//! The table runs no user code and drops no user value: what leaves it is returned, and the caller
//! drops it when no lock is held. Ids of instances come from a counter and are never used again
//! within a connection, so a stale reference can't reach another object. A face that wants ids which
//! can't be guessed gives a source of random numbers instead ([`Exports::draw_instances_from`]).

use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::id::EncodedId;

/// The objects of one end of a connection that its peer refers to.
#[derive(Debug)]
pub struct Exports<S> {
    by_id: HashMap<EncodedId, Entry<S>>,
    by_object: HashMap<usize, EncodedId>,
    next_instance: i64,
    source: Option<fn() -> u64>,
}

/// One object in the table.
#[derive(Debug, Clone)]
pub struct Entry<S> {
    /// The object.
    pub object: S,
    /// References handed out and not released.
    pub references: i64,
    /// What makes the object itself: its address, say. 0: exported under a given id only.
    identity: usize,
}

impl<S> Default for Exports<S> {
    fn default() -> Self {
        Self {
            by_id: HashMap::new(),
            by_object: HashMap::new(),
            next_instance: 1,
            source: None,
        }
    }
}

impl<S> Exports<S> {
    /// Counts one more reference to an object that is in the table, and tells its id.
    pub fn export_again(&mut self, identity: usize) -> Option<&EncodedId> {
        let id = self.by_object.get(&identity)?;
        if let Some(entry) = self.by_id.get_mut(id) {
            entry.references += 1;
        }
        Some(id)
    }

    /// Takes instance ids from a source of random numbers, from now on. 63 bits of each are used:
    /// among a million objects, two share an id with a probability below 10^-7.
    pub const fn draw_instances_from(&mut self, source: fn() -> u64) {
        self.source = Some(source);
    }

    /// The next unused instance id. It is never 0, which would mean a class.
    pub fn take_instance(&mut self) -> i64 {
        if let Some(source) = self.source {
            return (source() >> 1).max(1).cast_signed();
        }
        let instance = self.next_instance;
        self.next_instance += 1;
        instance
    }

    /// Puts an object in the table under `id`, with one reference. If the id is taken, that entry
    /// counts one more reference, and `object` is returned.
    pub fn insert(&mut self, id: EncodedId, identity: usize, object: S) -> Option<S> {
        if let Some(entry) = self.by_id.get_mut(&id) {
            entry.references += 1;
            return Some(object);
        }
        if identity != 0 {
            self.by_object.insert(identity, id.clone());
        }
        self.by_id.insert(
            id,
            Entry {
                object,
                references: 1,
                identity,
            },
        );
        None
    }

    /// The entry with this id.
    #[must_use]
    pub fn get(&self, encoded: &[u8]) -> Option<&Entry<S>> {
        self.by_id.get(&Borrowed(encoded))
    }

    /// The id of an object that is in the table.
    #[must_use]
    pub fn id_of(&self, identity: usize) -> Option<&EncodedId> {
        self.by_object.get(&identity)
    }

    /// Takes back `count` references. Returns the object if none is left, and whether there was an
    /// entry at all.
    pub fn release(&mut self, encoded: &[u8], count: i64) -> Released<S> {
        let Some(entry) = self.by_id.get_mut(&Borrowed(encoded)) else {
            return Released::Unknown;
        };
        entry.references = entry.references.saturating_sub(count);
        if entry.references > 0 {
            return Released::Kept;
        }
        match self.by_id.remove(&Borrowed(encoded)) {
            Some(entry) => {
                self.by_object.remove(&entry.identity);
                Released::Gone(entry.object)
            }
            None => Released::Unknown,
        }
    }

    /// How many objects are in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether the table holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&EncodedId, &Entry<S>)> {
        self.by_id.iter()
    }

    /// Empties the table and returns what it held.
    pub fn drain(&mut self) -> Vec<S> {
        self.by_object.clear();
        self.by_id.drain().map(|(_, entry)| entry.object).collect()
    }
}

/// What became of released references.
#[derive(Debug, PartialEq, Eq)]
pub enum Released<S> {
    /// Others are left.
    Kept,
    /// It was the last one: the object left the table.
    Gone(S),
    /// No object has this id.
    Unknown,
}

/// Looks up an [`EncodedId`] by bytes, without making one.
#[derive(Hash, PartialEq, Eq)]
struct Borrowed<'a>(&'a [u8]);

impl hashbrown::Equivalent<EncodedId> for Borrowed<'_> {
    fn equivalent(&self, key: &EncodedId) -> bool {
        self.0 == key.as_bytes()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn references_are_counted_and_returned_at_zero() {
        let mut table = Exports::default();
        let id = EncodedId::new("m.C", 7, table.take_instance());
        assert_eq!(table.insert(id.clone(), 100, "object"), None);
        assert_eq!(table.export_again(100), Some(&id));
        assert_eq!(table.release(id.as_bytes(), 1), Released::Kept);
        assert_eq!(table.get(id.as_bytes()).unwrap().references, 1);
        assert_eq!(table.release(id.as_bytes(), 1), Released::Gone("object"));
        assert_eq!(table.release(id.as_bytes(), 1), Released::Unknown);
        assert!(table.export_again(100).is_none());
        assert!(table.is_empty());
    }

    #[test]
    fn instance_ids_are_not_used_twice() {
        let mut table: Exports<()> = Exports::default();
        let first = table.take_instance();
        let id = EncodedId::new("m.C", 7, first);
        table.insert(id.clone(), 100, ());
        table.release(id.as_bytes(), 1);
        assert_ne!(table.take_instance(), first);
    }

    #[test]
    fn instance_ids_may_be_drawn() {
        let mut table: Exports<()> = Exports::default();
        table.draw_instances_from(|| u64::MAX);
        assert_eq!(table.take_instance(), i64::MAX);
        table.draw_instances_from(|| 0);
        assert_eq!(table.take_instance(), 1);
    }
}
