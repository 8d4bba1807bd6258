//! The root, and what comes with it. See [`rpyc_proto::introduction`].
//!
//! A Rust program needs no methods to call a root. It asks for them once, since who answers is of this
//! package.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rpyc_proto::boxing;
use rpyc_proto::consts::Handler;
use rpyc_proto::introduction;

use super::operations::told_of;
use super::request::Request;
use super::{Connection, Peer};
use crate::convert::IntoValue;
use crate::error::{Error, Result};
use crate::netref::Netref;
use crate::value::Value;

impl Connection {
    /// Starts a request for the root of the peer.
    pub(crate) fn request_root(&self) -> Request<'_> {
        let first = !self.0.has_asked.swap(true, Ordering::Relaxed);
        self.0.request(Handler::GetRoot, |model, out| {
            if first {
                introduction::put_arguments(out);
                return Ok(());
            }
            boxing::put_boxed(model, out, &Value::Tuple(Vec::new())).map_err(Error::from)
        })
    }

    /// The root, out of the answer to that request.
    pub(crate) fn root_in(&self, answer: Value) -> Result<Netref> {
        let root = match answer {
            Value::Tuple(mut parts) if is_introduction(&parts) => {
                self.0.note_kin();
                parts.pop().unwrap_or_default()
            }
            root => root,
        };
        Ok(root.extract()?)
    }
}

impl Peer {
    /// Notes that the peer is of this package.
    pub(super) fn note_kin(self: &Arc<Self>) {
        self.has_asked.store(true, Ordering::Relaxed);
        self.wire.note_kin();
    }
}

fn is_introduction(parts: &[Value]) -> bool {
    matches!(parts, [Value::Str(mark), _, Value::Netref(_)] if mark == introduction::MARK)
}

/// The root of a connection, with what a peer asks about it next: its methods, and the names of those
/// that it can call.
pub(super) fn introduced(root: Value) -> Value {
    let Value::Object(object) = &root else {
        return root;
    };
    let methods = object.methods();
    let names = methods
        .iter()
        .filter(|method| !method.name.starts_with("__"))
        .map(|method| Value::Str(method.name.clone().into_owned()))
        .collect();
    let description = Value::Tuple(vec![told_of(methods), Value::Tuple(names)]);
    Value::Tuple(vec![introduction::MARK.into_value(), description, root])
}
