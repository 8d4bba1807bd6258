//! The transports of the Python face: descriptors driven natively, and channels driven through their
//! Python methods.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::exceptions::{PyException, PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rpyc::link::Inbox;
use rpyc::transport::{BulkOf, Peeked, Pipe, Received, SendQueue, Socket, Transport, unread};
use rpyc_proto::wire::Payload;

use crate::bulk::{PyBulk, PyBulkBuffer};
use crate::engine::duplicate;

/// The longest single `poll` of a Python channel: a close is noticed within it.
const POLL_SLICE: Duration = Duration::from_millis(250);

/// How a connection's bytes move.
#[derive(Debug)]
pub(crate) enum PyTransport {
    /// A socket, by its descriptor.
    Socket(Socket<PyBulkBuffer>),
    /// Two pipes, by their descriptors.
    Pipe(Pipe<PyBulkBuffer>),
    /// Anything that quacks like a `Channel`.
    Channel(PyChannel),
}

/// A Python object with `poll`, `recv` and `send`.
#[derive(Debug)]
pub(crate) struct PyChannel {
    channel: Py<PyAny>,
    /// What a method raised that is not about the connection: KeyboardInterrupt, say.
    raised: Mutex<Option<PyErr>>,
    /// A method is being called to receive.
    receiving: AtomicBool,
}

impl PyTransport {
    pub(crate) const fn channel(channel: Py<PyAny>) -> Self {
        Self::Channel(PyChannel {
            channel,
            raised: Mutex::new(None),
            receiving: AtomicBool::new(false),
        })
    }

    /// Whether Python methods move the bytes.
    pub(crate) const fn is_channel(&self) -> bool {
        matches!(self, Self::Channel(_))
    }

    /// An exception that ended a wait and belongs to the waiting thread.
    pub(crate) fn take_raised(&self) -> Option<PyErr> {
        match self {
            Self::Channel(channel) => channel.raised.lock().take(),
            Self::Socket(_) | Self::Pipe(_) => None,
        }
    }
}

impl Transport for PyTransport {
    type Buffer = PyBulkBuffer;

    fn send(&self, queue: &mut SendQueue<BulkOf<Self>>) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.send(queue),
            Self::Pipe(pipe) => pipe.send(queue),
            Self::Channel(channel) => channel.send(queue),
        }
    }

    fn receive(
        &self,
        inbox: &mut Inbox<Self::Buffer>,
        timeout: Option<Duration>,
    ) -> io::Result<Received> {
        match self {
            Self::Socket(socket) => socket.receive(inbox, timeout),
            Self::Pipe(pipe) => pipe.receive(inbox, timeout),
            Self::Channel(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn is_whole(&self) -> bool {
        self.is_channel()
    }

    fn receive_whole(
        &self,
        timeout: Option<Duration>,
    ) -> io::Result<Option<Payload<BulkOf<Self>>>> {
        match self {
            Self::Socket(_) | Self::Pipe(_) => Err(io::ErrorKind::Unsupported.into()),
            Self::Channel(channel) => channel.receive(timeout),
        }
    }

    fn wait_to_send(&self, or_read: bool, timeout: Duration) -> io::Result<bool> {
        match self {
            Self::Socket(socket) => socket.wait_to_send(or_read, timeout),
            Self::Pipe(pipe) => pipe.wait_to_send(or_read, timeout),
            // A Python channel sends until it is done.
            Self::Channel(_) => Ok(false),
        }
    }

    fn peek(&self, first: &mut [u8]) -> io::Result<Peeked> {
        match self {
            Self::Socket(socket) => socket.peek(first),
            Self::Pipe(pipe) => pipe.peek(first),
            Self::Channel(channel) => Ok(channel.peek()),
        }
    }

    fn skip(&self, count: usize) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.skip(count),
            Self::Pipe(pipe) => pipe.skip(count),
            // Nothing of it can be seen beforehand.
            Self::Channel(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn sends_anywhere(&self) -> bool {
        !self.is_channel()
    }

    fn fills_pages(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.fills_pages(),
            Self::Pipe(_) | Self::Channel(_) => false,
        }
    }

    fn is_local(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.is_local(),
            // A Python channel compresses itself.
            Self::Pipe(_) | Self::Channel(_) => true,
        }
    }

    fn shutdown(&self) {
        match self {
            Self::Socket(socket) => socket.shutdown(),
            Self::Pipe(pipe) => pipe.shutdown(),
            // The connection closes its channel itself, in Python.
            Self::Channel(_) => {}
        }
    }
}

impl PyChannel {
    fn send(&self, queue: &mut SendQueue<BulkOf<PyTransport>>) -> io::Result<()> {
        Python::attach(|py| {
            while let Some(frame) = queue.frames.front() {
                let payload = PyBytes::new(py, &frame.payload());
                queue.frames.pop_front();
                self.channel
                    .call_method1(py, intern!(py, "send"), (payload,))
                    .map_err(|error| self.io_error(py, error))?;
            }
            Ok(())
        })
    }

    fn receive(&self, timeout: Option<Duration>) -> io::Result<Option<Payload<PyBulk>>> {
        if self.receiving.swap(true, Ordering::Acquire) {
            // The same thread: others don't have the read role. Half of a frame may have been read.
            *self.raised.lock() = Some(PyRuntimeError::new_err(
                "a request was made by code that runs while its connection's own channel receives, \
                 such as a finalizer or a signal handler: let another thread make it",
            ));
            return Ok(None);
        }
        let received = self.receive_alone(timeout);
        self.receiving.store(false, Ordering::Release);
        received
    }

    fn receive_alone(&self, timeout: Option<Duration>) -> io::Result<Option<Payload<PyBulk>>> {
        let slice = timeout.map_or(POLL_SLICE, |timeout| timeout.min(POLL_SLICE));
        Python::attach(|py| {
            let payload = self
                .poll_and_recv(py, slice)
                .map_err(|error| self.io_error(py, error));
            match payload {
                Ok(None) => Ok(None),
                Ok(Some(payload)) => Ok(Some(Payload::plain(payload))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// Looks at the descriptor below, if there is one.
    fn peek(&self) -> Peeked {
        Python::attach(|py| {
            let fd = self
                .channel
                .call_method0(py, intern!(py, "fileno"))
                .and_then(|fd| fd.extract(py))
                .and_then(duplicate);
            // Whatever kind of file it is: a system that can't tell tells nothing.
            match fd.map_or(0, |fd| unread(&fd)) {
                0 => Peeked::Nothing,
                all => Peeked::Bytes { seen: 0, all },
            }
        })
    }

    fn poll_and_recv(&self, py: Python<'_>, slice: Duration) -> PyResult<Option<Vec<u8>>> {
        let channel = self.channel.bind(py);
        let timeout = py
            .import(intern!(py, "rpyc.lib"))?
            .getattr(intern!(py, "Timeout"))?
            .call1((slice.as_secs_f64(),))?;
        // A channel of ours keeps what has arrived of a frame; of others, whole frames are asked for.
        let in_parts = intern!(py, "_receive_within");
        let payload = if channel.get_type().getattr_opt(in_parts)?.is_some() {
            channel.call_method1(in_parts, (timeout,))?
        } else if channel
            .call_method1(intern!(py, "poll"), (timeout,))?
            .is_truthy()?
        {
            channel.call_method0(intern!(py, "recv"))?
        } else {
            return Ok(None);
        };
        if payload.is_none() {
            return Ok(None);
        }
        match payload.cast::<PyBytes>() {
            Ok(bytes) => Ok(Some(bytes.as_bytes().to_vec())),
            Err(_) => payload.extract().map(Some),
        }
    }

    /// Tells errors of the connection from exceptions that belong to the thread.
    fn io_error(&self, py: Python<'_>, error: PyErr) -> io::Error {
        if error.is_instance_of::<PyException>(py) {
            let text = error.value(py).to_string();
            return if is_bad_data(py, &error) {
                io::Error::new(io::ErrorKind::InvalidData, text)
            } else {
                io::Error::other(text)
            };
        }
        *self.raised.lock() = Some(error);
        io::ErrorKind::Interrupted.into()
    }
}

/// Whether a channel's error is about what the peer sent: a ValueError, or one of `zlib`.
fn is_bad_data(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyValueError>(py)
        || error
            .get_type(py)
            .getattr(intern!(py, "__module__"))
            .and_then(|module| module.eq(intern!(py, "zlib")))
            .unwrap_or(false)
}
