//! The seam between the protocol and a face.
//!
//! [`boxing`](crate::boxing) and [`dispatch`](crate::dispatch) are written once, for any
//! [`ObjectModel`]. The Python face fills it with CPython objects, the Rust face with values of its
//! own. Each face turns tokens into its values itself, straight from the bytes.

use core::fmt;

use crate::consts::Handler;
use crate::id::IdPack;
use crate::wire::{DecodeError, Reader, Writer};

/// How a face represents values.
pub trait ObjectModel {
    /// A live value.
    type Value;
    /// A large `bytes` value that travels apart from the payload.
    type Bulk;
    /// An exception, or whatever a failed operation yields.
    type Error: From<ProtocolError>;

    /// Reads one plain (brine) value.
    ///
    /// # Errors
    /// The reader's errors, and the model's own (memory, say).
    fn read_plain(
        &mut self,
        reader: &mut Reader<'_, Self::Bulk>,
    ) -> Result<Self::Value, Self::Error>;

    /// Reads one plain value and appends it to `items`.
    ///
    /// # Errors
    /// As [`read_plain`](Self::read_plain).
    fn read_item(
        &mut self,
        reader: &mut Reader<'_, Self::Bulk>,
        items: &mut alloc::vec::Vec<Self::Value>,
    ) -> Result<(), Self::Error> {
        items.push(self.read_plain(reader)?);
        Ok(())
    }

    /// Writes a value if it is plain, and tells whether it is. If not, anything may have been
    /// written: the caller rolls back.
    ///
    /// # Errors
    /// The value is plain by its type, but can't be encoded.
    fn write_plain(
        &mut self,
        value: &Self::Value,
        out: &mut Writer<Self::Bulk>,
    ) -> Result<bool, Self::Error>;

    /// The items of an exact tuple.
    fn tuple_items(&self, value: &Self::Value) -> Option<alloc::vec::Vec<Self::Value>>;

    /// The items of any iterable value.
    ///
    /// # Errors
    /// The value is not iterable, or fails on the way.
    fn iterate(&mut self, value: Self::Value) -> Result<alloc::vec::Vec<Self::Value>, Self::Error>;

    /// A tuple of these items.
    ///
    /// # Errors
    /// The model's own.
    fn make_tuple(
        &mut self,
        items: alloc::vec::Vec<Self::Value>,
    ) -> Result<Self::Value, Self::Error>;

    /// Writes the id pack of a proxy of this connection; `false` for any other value.
    ///
    /// # Errors
    /// The model's own: a proxy may have to ask for its id pack first.
    fn write_own_proxy(
        &mut self,
        value: &Self::Value,
        out: &mut Writer<Self::Bulk>,
    ) -> Result<bool, Self::Error>;

    /// Registers an object of ours for the peer, and writes its id pack.
    ///
    /// # Errors
    /// The model's own; the limit of exports.
    fn write_export(
        &mut self,
        value: &Self::Value,
        out: &mut Writer<Self::Bulk>,
    ) -> Result<(), Self::Error>;

    /// Appends the object of ours that was exported under exactly this encoded id to `items`, if there is
    /// one, and tells whether there is. A quick look before [`local`](Self::local), which understands
    /// other encodings, too.
    fn push_known_local(
        &mut self,
        encoded: &[u8],
        items: &mut alloc::vec::Vec<Self::Value>,
    ) -> bool {
        let _ = (encoded, items);
        false
    }

    /// The object of ours that the peer names.
    ///
    /// # Errors
    /// No such object is registered.
    fn local(&mut self, id: IdPack<'_>) -> Result<Self::Value, Self::Error>;

    /// The proxy of an object of the peer, counting one more reference.
    ///
    /// # Errors
    /// The model's own.
    fn proxy(&mut self, id: IdPack<'_>) -> Result<Self::Value, Self::Error>;
}

/// The operations behind the handlers, as a face performs them on its values.
///
/// Every method may run user code, so no lock is held while one is called.
#[expect(
    clippy::missing_errors_doc,
    reason = "each fails with what the operation on the object raises"
)]
pub trait Operations: ObjectModel {
    /// The error for a request that names no handler.
    fn unknown_handler(&mut self, handler: Self::Value) -> Self::Error;
    /// The root object.
    fn root(&mut self) -> Result<Self::Value, Self::Error>;
    /// Answers a close request: the connection ends.
    fn close(&mut self) -> Result<Self::Value, Self::Error>;
    /// Reads an attribute that the policy allows.
    fn getattr(
        &mut self,
        object: Self::Value,
        name: Self::Value,
    ) -> Result<Self::Value, Self::Error>;
    /// Deletes an attribute that the policy allows.
    fn delattr(
        &mut self,
        object: Self::Value,
        name: Self::Value,
    ) -> Result<Self::Value, Self::Error>;
    /// Sets an attribute that the policy allows.
    fn setattr(
        &mut self,
        object: Self::Value,
        name: Self::Value,
        value: Self::Value,
    ) -> Result<Self::Value, Self::Error>;
    /// Calls an object; `kwargs` is an iterable of pairs.
    fn call(
        &mut self,
        object: Self::Value,
        args: Self::Value,
        kwargs: Option<Self::Value>,
    ) -> Result<Self::Value, Self::Error>;
    /// Calls an attribute that the policy allows, as reading it and calling what it is.
    fn call_attr(
        &mut self,
        object: Self::Value,
        name: Self::Value,
        args: Self::Value,
        kwargs: Option<Self::Value>,
    ) -> Result<Self::Value, Self::Error> {
        let target = self.getattr(object, name)?;
        self.call(target, args, kwargs)
    }
    /// `repr()`.
    fn repr(&mut self, object: Self::Value) -> Result<Self::Value, Self::Error>;
    /// `str()`.
    fn str(&mut self, object: Self::Value) -> Result<Self::Value, Self::Error>;
    /// Applies a comparison, by its method's name.
    fn cmp(
        &mut self,
        object: Self::Value,
        other: Self::Value,
        op: Option<Self::Value>,
    ) -> Result<Self::Value, Self::Error>;
    /// `hash()`.
    fn hash(&mut self, object: Self::Value) -> Result<Self::Value, Self::Error>;
    /// `dir()`, as a tuple.
    fn dir(&mut self, object: Self::Value) -> Result<Self::Value, Self::Error>;
    /// The pickled object, if that is allowed.
    fn pickle(
        &mut self,
        object: Self::Value,
        protocol: Self::Value,
    ) -> Result<Self::Value, Self::Error>;
    /// Takes back references of the peer to an object.
    fn release(
        &mut self,
        object: Self::Value,
        count: Option<Self::Value>,
    ) -> Result<Self::Value, Self::Error>;
    /// The methods that a proxy needs: pairs of name and doc.
    fn inspect(&mut self, id_pack: Self::Value) -> Result<Self::Value, Self::Error>;
    /// The next items of an iterator, as a tuple.
    fn buffiter(
        &mut self,
        object: Self::Value,
        count: Self::Value,
    ) -> Result<Self::Value, Self::Error>;
    /// Slicing by the methods of Python 2; the arguments are those of the request.
    fn oldslicing(
        &mut self,
        args: alloc::vec::Vec<Self::Value>,
    ) -> Result<Self::Value, Self::Error>;
    /// Leaves a context manager.
    fn ctxexit(
        &mut self,
        object: Self::Value,
        exc: Self::Value,
    ) -> Result<Self::Value, Self::Error>;
    /// `isinstance(the object with this id pack, class)`.
    fn instancecheck(
        &mut self,
        class: Self::Value,
        id_pack: Self::Value,
    ) -> Result<Self::Value, Self::Error>;

    // Extensions. A face that does not offer one leaves it out.

    /// The names of the extensions that are offered, as a tuple.
    fn features(&mut self) -> Result<Self::Value, Self::Error> {
        Err(ProtocolError::Unsupported(Handler::Features).into())
    }
    /// Nobody waits for the answer to the request with this sequence number: it need not be performed.
    fn cancel(&mut self, number: Self::Value) -> Result<Self::Value, Self::Error> {
        drop(number);
        Err(ProtocolError::Unsupported(Handler::Cancel).into())
    }
    /// Sends signs of life from now on: an empty frame at least every so many seconds.
    fn heartbeat(&mut self, seconds: Self::Value) -> Result<Self::Value, Self::Error> {
        drop(seconds);
        Err(ProtocolError::Unsupported(Handler::Heartbeat).into())
    }
    /// The pickled object and its large buffers: a pair of bytes and a tuple of pairs of whether the
    /// buffer may be written to and its bytes.
    fn pickle_buffers(&mut self, object: Self::Value) -> Result<Self::Value, Self::Error> {
        drop(object);
        Err(ProtocolError::Unsupported(Handler::PickleBuffers).into())
    }
    /// Takes `skip` items and one more from an iterator, and looks at those that follow. The result
    /// is a pair: whether looking ahead makes sense, and a tuple of the item taken and those seen.
    /// With a `count` of 0 items are skipped only.
    fn read_ahead(
        &mut self,
        iterator: Self::Value,
        skip: Self::Value,
        count: Self::Value,
    ) -> Result<Self::Value, Self::Error> {
        drop((iterator, skip, count));
        Err(ProtocolError::Unsupported(Handler::ReadAhead).into())
    }
    /// Performs calls, one after the other. Each is a tuple of an object, arguments, keyword
    /// arguments, and perhaps the name of the attribute to call. The result is a pair of tuples: the
    /// results, serialized exceptions among them; and the positions of those.
    fn batch(&mut self, calls: alloc::vec::Vec<Self::Value>) -> Result<Self::Value, Self::Error> {
        drop(calls);
        Err(ProtocolError::Unsupported(Handler::Batch).into())
    }
}

/// What can be wrong with a message, whatever the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// The bytes are no value, or one of another shape.
    Decode(DecodeError),
    /// A boxed value with an unknown label.
    Label(i64),
    /// A request with a number of arguments that its handler does not take.
    Arity {
        /// The handler.
        handler: Handler,
        /// How many arguments came.
        given: usize,
    },
    /// A request for an extension that this side does not offer.
    Unsupported(Handler),
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => error.fmt(f),
            Self::Label(label) => write!(f, "invalid label {label}"),
            Self::Arity { handler, given } => {
                write!(f, "handler {handler:?} does not take {given} arguments")
            }
            Self::Unsupported(handler) => write!(
                f,
                "handler {handler:?} is an extension that this side does not offer"
            ),
        }
    }
}

impl core::error::Error for ProtocolError {}

impl From<DecodeError> for ProtocolError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}
