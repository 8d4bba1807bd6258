//! The primitives for opening a connection and ending it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use pyo3::exceptions::{PyEOFError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use rpyc::link::{EndCause, Link};
use rpyc::random::unguessable;
use rpyc::transport::{Pipe, Socket, Transport, notice_lost_peer};
use rpyc_proto::limits::Limits;
use rpyc_proto::message::Dialect;

use super::Engine;
use crate::bound::{BoundThreads, PREFIX};
use crate::transport::PyTransport;

#[expect(unsafe_code, reason = "a descriptor arrives as a number")]
/// A descriptor of our own for the file of another one.
pub(crate) fn duplicate(fd: RawFd) -> PyResult<OwnedFd> {
    if fd < 0 {
        return Err(PyEOFError::new_err("stream has been closed"));
    }
    // SAFETY: the number is only used for the duplication; a bad one gives an error.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?)
}

impl Engine {
    fn liveness(&self) -> Liveness {
        self.liveness.get().copied().unwrap_or_default()
    }

    fn open(&self, transport: PyTransport, compress: Option<usize>) -> PyResult<()> {
        if let Some(threshold) = compress.filter(|_| !transport.is_local()) {
            let _ = self.compress.set(threshold);
        }
        // What precedes the first brine value: the thread ids, and the message's kind.
        let prefix = if self.bound.get().is_some() {
            PREFIX + 1
        } else {
            1
        };
        let link = Link::new(transport, *self.limits(), prefix)
            .give_up_sending_after(self.liveness().send_timeout);
        self.link
            .set(link)
            .map_err(|_| PyRuntimeError::new_err("the connection is open already"))
    }
}

/// How a lost peer is noticed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Liveness {
    keepalive: Option<Duration>,
    send_timeout: Option<Duration>,
}

#[pymethods]
impl Engine {
    /// Sets limits on what the peer can make us do; None leaves one as it is. To be called before
    /// the connection is opened. Sizes are bytes.
    fn _set_limits(
        &self,
        frame: Option<usize>,
        inflated: Option<usize>,
        backlog: Option<usize>,
        pending: Option<usize>,
        exports: Option<usize>,
        nested: Option<usize>,
    ) {
        let defaults = Limits::default();
        let _ = self.limits.set(Limits {
            frame: frame.unwrap_or(defaults.frame),
            inflated: inflated.unwrap_or(defaults.inflated),
            backlog: backlog.unwrap_or(defaults.backlog),
            pending: pending.unwrap_or(defaults.pending),
            exports: exports.unwrap_or(defaults.exports),
            nested: nested.unwrap_or(defaults.nested),
        });
    }

    /// Sets how a lost peer is noticed, in seconds: the idle time before its system is probed, and how
    /// long it may take no bytes. None: not at all. To be called before the connection is opened.
    fn _set_liveness(&self, keepalive: Option<f64>, send_timeout: Option<f64>) {
        // Zero, negative and endless times turn it off.
        let duration = |seconds: Option<f64>| {
            seconds
                .filter(|&seconds| seconds > 0.0)
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        };
        let _ = self.liveness.set(Liveness {
            keepalive: duration(keepalive),
            send_timeout: duration(send_timeout),
        });
    }

    /// Has the system notice that the peer of a socket is gone.
    fn _notice_lost_peer(&self, fd: RawFd) -> PyResult<()> {
        let Liveness {
            keepalive,
            send_timeout,
        } = self.liveness();
        notice_lost_peer(duplicate(fd)?, keepalive, send_timeout)?;
        Ok(())
    }

    /// Makes the ids on the wire random numbers, and disguises the addresses of classes. To be
    /// called before the connection is opened.
    fn _hide_addresses(&self) {
        self.exports.lock().draw_instances_from(unguessable);
        self.hides_addresses.store(true, Ordering::Relaxed);
    }

    /// Speaks the dialect of a major version of RPyC, 5 or 6, whatever the peer sends first.
    fn _speak(&self, version: u8) -> PyResult<()> {
        if version != Dialect::V5 as u8 && version != Dialect::V6 as u8 {
            let text = format!("protocol_version is 5 (RPyC 4.1 to 5.3) or 6, not {version}");
            return Err(PyValueError::new_err(text));
        }
        self.dialect.store(version, Ordering::Relaxed);
        Ok(())
    }

    /// The major version of RPyC whose dialect is spoken.
    #[getter]
    fn _dialect(&self) -> u8 {
        self.dialect() as u8
    }

    /// Turns on thread-bound mode. To be called before the connection is opened.
    fn _bind_to_threads(&self) {
        let _ = self.bound.set(BoundThreads::default());
    }

    /// Opens the connection over a connected stream socket, which is driven by its descriptor.
    ///
    /// A wait polls for `busy_poll` seconds at most before it sleeps.
    #[pyo3(signature = (fd, compress_above, busy_poll))]
    fn _open_socket(
        &self,
        fd: RawFd,
        compress_above: Option<usize>,
        busy_poll: f64,
    ) -> PyResult<()> {
        let busy_poll = Duration::try_from_secs_f64(busy_poll).map_err(|_| {
            let text = format!("the config key busy_poll is a number of seconds, not {busy_poll}");
            PyValueError::new_err(text)
        })?;
        let fd = duplicate(fd)?;
        let Liveness {
            keepalive,
            send_timeout,
        } = self.liveness();
        notice_lost_peer(&fd, keepalive, send_timeout)?;
        self.open(
            PyTransport::Socket(Socket::new(fd, busy_poll)?),
            compress_above,
        )
    }

    /// Opens the connection over two pipes, which are driven by their descriptors.
    fn _open_pipe(&self, incoming: RawFd, outgoing: RawFd) -> PyResult<()> {
        self.open(
            PyTransport::Pipe(Pipe::new(duplicate(incoming)?, duplicate(outgoing)?)),
            None,
        )
    }

    /// Opens the connection over an object with `poll`, `recv` and `send`.
    fn _open_channel(&self, channel: Py<PyAny>) -> PyResult<()> {
        self.open(PyTransport::channel(channel), None)
    }

    /// Allows any number of open requests, so that the connection can say that it closes.
    fn _lift_request_limit(&self) {
        if let Some(link) = self.link.get() {
            link.session().lock().lift_limit();
        }
    }

    /// Ends the link: whoever waits gets EOFError.
    #[pyo3(signature = (reason = None))]
    fn _finish(&self, py: Python<'_>, reason: Option<String>) {
        if let Some(link) = self.link.get() {
            let cause = reason.map_or(EndCause::Closed, EndCause::Face);
            py.detach(|| {
                // Calls that nobody waits for may be queued.
                link.flush_out();
                link.finish(cause);
            });
        }
    }

    /// Ends the link because of what the peer sent.
    fn _give_up(&self, py: Python<'_>, reason: String) {
        if let Some(link) = self.link.get() {
            py.detach(|| link.finish(EndCause::Malformed(reason)));
        }
    }

    /// Why the link ended; None while it has not.
    #[getter]
    fn _end_reason(&self) -> Option<String> {
        self.link.get()?.end().map(ToString::to_string)
    }

    /// The same in a word or two, as the `cause` of `ConnectionLost`.
    #[getter]
    fn _end_cause(&self) -> &'static str {
        let end = self.link.get().and_then(Link::end);
        end.map_or("closed", |end| end.cause().word())
    }

    /// Whether the link ended because of what the peer sent. (Half of a message is what a peer has
    /// sent that was killed.)
    #[getter]
    fn _peer_misbehaved(&self) -> bool {
        let end = self.link.get().and_then(Link::end);
        end.is_some_and(|end| {
            matches!(
                end.cause(),
                EndCause::Frame(_)
                    | EndCause::Message(_)
                    | EndCause::Malformed(_)
                    | EndCause::Io(io::ErrorKind::InvalidData, _)
            )
        })
    }

    /// Whether the connection was inherited by a fork and not used since.
    #[getter]
    fn _is_inherited(&self) -> bool {
        !self.is_here()
    }
}
