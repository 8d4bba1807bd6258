//! Proxies of remote objects.

mod context;
mod iter;
mod operators;
mod release;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use rpyc_proto::boxing;
use rpyc_proto::consts::Handler;
use rpyc_proto::dispatch;
use rpyc_proto::id::{EncodedId, IdPack};
use rpyc_proto::wire::Writer;

pub use iter::NetrefIter;
pub use operators::{Comparison, Operator, Unary};
pub(crate) use release::Netrefs;

use crate::args::IntoArgs;
use crate::connection::model::Model;
use crate::connection::{Connection, Peer, Request};
use crate::convert::{FromValue, IntoValue};
use crate::error::{Error, Exception, Result};
use crate::pending::AsyncResult;
use crate::value::Value;

/// A proxy of an object that lives in the peer.
///
/// Every operation is one request, and blocks until its answer is there or
/// [`Config::timeout`](crate::Config::timeout) is over. Clones are the same proxy; the peer lets its
/// object go when the last one is dropped.
///
/// Operations whose name ends in `_async` send the request and return at once.
#[derive(Clone)]
pub struct Netref(Arc<Inner>);

struct Inner {
    peer: Arc<Peer>,
    id: EncodedId,
    class_name: Box<str>,
    /// References that the peer counts for this proxy, to be given back at once.
    references: AtomicI64,
}

/// Gives the references back. Sends what can leave without waiting.
impl Drop for Inner {
    fn drop(&mut self) {
        let count = *self.references.get_mut();
        self.peer.netrefs().forget(&self.id);
        self.peer.release(self.id.as_bytes(), count);
    }
}

impl Netref {
    pub(crate) fn new(peer: &Arc<Peer>, id: &IdPack<'_>) -> Self {
        Self(Arc::new(Inner {
            peer: Arc::clone(peer),
            id: id.canonical(),
            class_name: id.name.into(),
            references: AtomicI64::new(1),
        }))
    }

    /// Counts one more reference that arrived.
    pub(crate) fn count_one(&self) {
        self.0.references.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is_of(&self, peer: &Arc<Peer>) -> bool {
        Arc::ptr_eq(&self.0.peer, peer)
    }

    pub(crate) fn id(&self) -> &EncodedId {
        &self.0.id
    }

    /// What tells this proxy from all others in the process.
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    pub(crate) fn downgrade(&self) -> release::WeakNetref {
        release::WeakNetref(Arc::downgrade(&self.0))
    }

    /// The dotted name of the object's class, such as `builtins.list`.
    #[must_use]
    pub fn class_name(&self) -> &str {
        &self.0.class_name
    }

    /// The connection to the process where the object lives.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection::of(Arc::clone(&self.0.peer))
    }

    /// Whether both are proxies of the same object.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (Arc::ptr_eq(&self.0.peer, &other.0.peer) && self.0.id == other.0.id)
    }

    /// Reads an attribute.
    ///
    /// # Errors
    /// See [`Error`]; `AttributeError` if there is none, or access is denied.
    pub fn attr(&self, name: &str) -> Result<Value> {
        self.ask(Handler::GetAttr, (name,))
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// As [`attr`](Self::attr).
    pub fn set_attr(&self, name: &str, value: impl IntoValue) -> Result<()> {
        self.ask(Handler::SetAttr, (name, value)).map(drop)
    }

    /// Deletes an attribute.
    ///
    /// # Errors
    /// As [`attr`](Self::attr).
    pub fn del_attr(&self, name: &str) -> Result<()> {
        self.ask(Handler::DelAttr, (name,)).map(drop)
    }

    /// Calls the object.
    ///
    /// # Errors
    /// See [`Error`]; whatever it raises.
    pub fn call(&self, args: impl IntoArgs) -> Result<Value> {
        self.calling(Handler::Call, None, args, Request::wait)
    }

    /// Calls a method, in one round trip.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_method(&self, name: &str, args: impl IntoArgs) -> Result<Value> {
        self.calling(Handler::CallAttr, Some(name), args, Request::wait)
    }

    /// As [`call`](Self::call), without waiting.
    ///
    /// Calls that follow each other quickly leave together, within a millisecond. A program that ends
    /// by [`std::process::exit`] meanwhile loses them: close the connection, or drop it, before.
    pub fn call_async(&self, args: impl IntoArgs) -> AsyncResult {
        self.calling(Handler::Call, None, args, Request::send)
    }

    /// As [`call_method`](Self::call_method), without waiting.
    pub fn call_method_async(&self, name: &str, args: impl IntoArgs) -> AsyncResult {
        self.calling(Handler::CallAttr, Some(name), args, Request::send)
    }

    /// As [`attr`](Self::attr), without waiting.
    pub fn attr_async(&self, name: &str) -> AsyncResult {
        self.asking(Handler::GetAttr, (name,), Request::send)
    }

    /// `repr()` of the object.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn repr(&self) -> Result<String> {
        self.ask_as(Handler::Repr, ())
    }

    /// `str()` of the object.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn str(&self) -> Result<String> {
        self.ask_as(Handler::Str, ())
    }

    /// `hash()` of the object.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn hash(&self) -> Result<i64> {
        self.ask_as(Handler::Hash, ())
    }

    /// The names of its attributes.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn dir(&self) -> Result<Vec<String>> {
        self.ask_as(Handler::Dir, ())
    }

    /// The documentation of the object.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn doc(&self) -> Result<Option<String>> {
        Ok(self.attr("__doc__")?.extract()?)
    }

    /// The special methods and other methods of the object's class: names and documentation.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn methods(&self) -> Result<Vec<(String, Option<String>)>> {
        let id = self.id_value()?;
        let request = self.0.peer.request(Handler::Inspect, |_, out| {
            boxing::put_boxed(&mut Model::new(&self.0.peer), out, &Value::Tuple(vec![id]))
                .map_err(Error::from)
        });
        Ok(request.wait()?.extract()?)
    }

    /// Whether the object is an instance of `class`, a proxy of a class of the same peer: of that very
    /// class, or, for builtin classes, of one that is derived of it.
    ///
    /// # Errors
    /// See [`Error`]; `TypeError` if `class` is no class.
    pub fn is_instance(&self, class: &Self) -> Result<bool> {
        let own = self.id_value()?;
        // Name, class, instance; a class has no instance. Peers agree on the classes by these.
        let (_, own_class, instance): (Value, i64, i64) = own.clone().extract()?;
        let (_, wanted, none): (Value, i64, i64) = class.id_value()?.extract()?;
        if none != 0 {
            let text = format!("'{}' object is no class", class.class_name());
            return Err(Exception::type_error(text).into());
        }
        if own_class == wanted {
            return Ok(instance != 0);
        }
        class.ask_as(Handler::InstanceCheck, (own,))
    }

    /// Takes the object by value. Lists and other iterables become tuples of their items.
    ///
    /// # Errors
    /// See [`Error`]; a conversion error.
    pub fn extract<T: FromValue>(self) -> Result<T> {
        Ok(T::from_value(Value::Netref(self))?)
    }

    /// Performs a request on the object with further arguments.
    fn ask(&self, handler: Handler, args: impl IntoArgs) -> Result<Value> {
        self.asking(handler, args, Request::wait)
    }

    fn ask_as<T: FromValue>(&self, handler: Handler, args: impl IntoArgs) -> Result<T> {
        Ok(self.ask(handler, args)?.extract()?)
    }

    /// Writes a request on the object and hands it to `send`. What was written into it lives until then.
    fn asking<'a, T>(
        &'a self,
        handler: Handler,
        args: impl IntoArgs,
        send: impl FnOnce(Request<'a>) -> T,
    ) -> T {
        let (positional, _) = args.into_args().into_parts();
        send(self.0.peer.request(handler, |model, out| {
            dispatch::put_target(out, self.id().as_bytes(), positional.len());
            put_each(model, out, &positional)
        }))
    }

    /// As [`asking`](Self::asking), for a call of the object, or of its method.
    fn calling<'a, T>(
        &'a self,
        handler: Handler,
        method: Option<&str>,
        args: impl IntoArgs,
        send: impl FnOnce(Request<'a>) -> T,
    ) -> T {
        let (positional, keywords) = args.into_args().into_parts();
        let pairs = keywords
            .into_iter()
            .map(|(name, value)| Value::Tuple(vec![Value::Str(name), value]));
        let values = [Value::Tuple(positional), Value::Tuple(pairs.collect())];
        send(self.0.peer.request(handler, |model, out| {
            dispatch::put_target(out, self.id().as_bytes(), 2 + usize::from(method.is_some()));
            if let Some(name) = method {
                dispatch::put_boxed_with(out, |out| out.put_str(name));
            }
            put_each(model, out, &values)
        }))
    }

    /// The id pack by value, as some requests take it.
    fn id_value(&self) -> Result<Value> {
        let mut reader = rpyc_proto::wire::Reader::with_bulk(self.id().as_bytes(), 0, &[]);
        Ok(crate::brine::read(&mut reader)?)
    }
}

fn put_each(model: &mut Model<'_>, out: &mut Writer<Bytes>, values: &[Value]) -> Result<()> {
    values
        .iter()
        .try_for_each(|value| boxing::put_boxed(model, out, value).map_err(Error::from))
}

impl fmt::Debug for Netref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<netref of {}>", self.class_name())
    }
}

impl PartialEq for Netref {
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

/// Operations on a value that is a proxy; on any other one they are a conversion error.
impl Value {
    /// As [`Netref::attr`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn attr(&self, name: &str) -> Result<Self> {
        self.as_netref()?.attr(name)
    }

    /// As [`Netref::call`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn call(&self, args: impl IntoArgs) -> Result<Self> {
        self.as_netref()?.call(args)
    }

    /// As [`Netref::call_method`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn call_method(&self, name: &str, args: impl IntoArgs) -> Result<Self> {
        self.as_netref()?.call_method(name, args)
    }

    /// As [`Netref::call_async`].
    ///
    /// # Errors
    /// The value is no proxy.
    pub fn call_async(&self, args: impl IntoArgs) -> Result<AsyncResult> {
        Ok(self.as_netref()?.call_async(args))
    }

    /// As [`Netref::call_method_async`].
    ///
    /// # Errors
    /// The value is no proxy.
    pub fn call_method_async(&self, name: &str, args: impl IntoArgs) -> Result<AsyncResult> {
        Ok(self.as_netref()?.call_method_async(name, args))
    }
}
