//! The numbers of the protocol, as types.

/// Bytes per operating-system read or write in RPyC's own streams.
pub const STREAM_CHUNK: usize = 64_000;
/// Payloads longer than this many bytes are worth a thought about compression.
pub const COMPRESSION_THRESHOLD: usize = 3_000;
/// The mark that stands for an exact `StopIteration` in an exception message.
pub const EXC_STOP_ITERATION: i64 = 1;

macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$vmeta])* $variant = $number,)*
        }

        impl $name {
            /// The variant with this number on the wire, if there is one.
            #[must_use]
            pub const fn from_wire(number: i64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u8 {
                self as u8
            }
        }
    };
}

wire_enum! {
    /// What a payload is: its first byte.
    MessageKind {
        /// A request: `(handler, boxed arguments)`.
        Request = 1,
        /// The boxed result of a request.
        Reply = 2,
        /// The exception that a request raised.
        Exception = 3,
    }
}

wire_enum! {
    /// How a boxed value is to be understood by its receiver.
    Label {
        /// The value itself.
        Value = 1,
        /// A tuple of boxed values.
        Tuple = 2,
        /// An object of the receiver.
        LocalRef = 3,
        /// An object of the sender.
        RemoteRef = 4,
    }
}

wire_enum! {
    /// The operations that a request can ask for.
    Handler {
        /// Echoes its argument.
        Ping = 1,
        /// Ends the connection.
        Close = 2,
        /// The root object.
        GetRoot = 3,
        /// Reads an attribute.
        GetAttr = 4,
        /// Deletes an attribute.
        DelAttr = 5,
        /// Sets an attribute.
        SetAttr = 6,
        /// Calls an object.
        Call = 7,
        /// Calls an attribute: `GetAttr`, then `Call`.
        CallAttr = 8,
        /// `repr()`.
        Repr = 9,
        /// `str()`.
        Str = 10,
        /// A comparison.
        Cmp = 11,
        /// `hash()`.
        Hash = 12,
        /// `dir()`.
        Dir = 13,
        /// The pickled object.
        Pickle = 14,
        /// Releases references to an object.
        Del = 15,
        /// The methods that a proxy of the object needs.
        Inspect = 16,
        /// The next items of an iterator.
        BufIter = 17,
        /// Slicing by the methods of Python 2.
        OldSlicing = 18,
        /// Leaves a context manager.
        CtxExit = 19,
        /// `isinstance` with a class of the responder.
        InstanceCheck = 20,
        /// The [extensions](crate::features) that the responder knows. Not in RPyC.
        Features = 100,
        /// The pickled object with its large buffers apart. An extension.
        PickleBuffers = 101,
        /// Asks for signs of life: the connection is to send an empty frame every so many seconds.
        /// An extension.
        Heartbeat = 110,
        /// Nobody waits for the answer to a request any more. An extension.
        Cancel = 111,
        /// The next items of an iterator, which it has not given out yet but the first. An
        /// extension.
        ReadAhead = 102,
        /// Several calls, one after the other. An extension.
        Batch = 103,
    }
}

impl Handler {
    /// Whether a request can be worth giving up. What runs no code of the user is done sooner than it
    /// is cancelled, and a close is a close.
    #[must_use]
    pub const fn is_cancellable(self) -> bool {
        !matches!(
            self,
            Self::Ping | Self::Close | Self::Del | Self::Features | Self::Heartbeat | Self::Cancel
        )
    }
}
