//! The live proxies of a connection, by id.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rpyc_proto::id::{EncodedId, IdPack};

use super::{Inner, Netref};
use crate::connection::Peer;

/// A proxy that is not kept alive.
pub(crate) struct WeakNetref(pub(super) Weak<Inner>);

/// One proxy per remote object, as long as it lives.
#[derive(Default)]
pub(crate) struct Netrefs(Mutex<HashMap<EncodedId, WeakNetref>>);

impl Netrefs {
    /// The proxy for an id that arrived, counting one more reference.
    pub(crate) fn arrived(&self, peer: &Arc<Peer>, id: &IdPack<'_>) -> Netref {
        let key = id.canonical();
        let mut table = self.0.lock();
        if let Some(inner) = table.get(&key).and_then(|known| known.0.upgrade()) {
            // Not under the lock: if all others are dropped meanwhile, this one is the last.
            drop(table);
            let netref = Netref(inner);
            netref.count_one();
            return netref;
        }
        // None, or one that is dying: it gives back what it counted itself.
        let netref = Netref::new(peer, id);
        table.insert(key, netref.downgrade());
        netref
    }

    /// Removes a proxy that is dying, unless another one has taken its place.
    pub(super) fn forget(&self, id: &EncodedId) {
        let mut table = self.0.lock();
        if table
            .get(id)
            .is_some_and(|known| known.0.strong_count() == 0)
        {
            table.remove(id);
        }
    }

    /// How many proxies are alive.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}
