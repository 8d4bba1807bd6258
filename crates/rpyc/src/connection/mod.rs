//! Connections: one end of a conversation between two processes.

mod cancel;
mod driver;
mod heartbeat;
mod introduction;
pub(crate) mod model;
mod operations;
mod peer;
mod perform;
mod request;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::sync::Instant;

use ref_cast::{RefCastCustom, ref_cast_custom};
use rpyc_proto::boxing;
use rpyc_proto::consts::Handler;

pub use cancel::is_cancelled;
#[cfg(feature = "tokio")]
pub(crate) use cancel::performing;
pub(crate) use driver::BlockingDriver;
use model::Model;
pub(crate) use peer::Peer;
pub(crate) use perform::guarded;
#[cfg(feature = "tokio")]
pub(crate) use perform::{Handled, Role, Seq};
pub(crate) use request::{Patience, Request, name_of, wait_for};
pub(crate) use wire::Wire;

use crate::config::Config;
use crate::convert::{FromValue, IntoValue};
use crate::error::{ConnectionLost, Error, Exception, Result};
use crate::link::{EndCause, Link};
use crate::netref::Netref;
use crate::object::{Object, Void};
use crate::transport::Stream;
use crate::value::Value;

/// How long closing waits for what is still to be sent, and for the peer to hang up.
const CLOSING: Duration = Duration::from_secs(1);

/// One end of a connection. Both ends are equal: each serves its root object, and can use the
/// other's.
///
/// Clones are the same connection. It may be used by any number of threads: each gets its own
/// answers. While a thread waits for an answer, it serves the peer's requests too, such as calls of
/// a callback; while none waits, requests wait until one [serves](Self::serve_all).
///
/// The connection ends when it is [closed](Self::close), or when the last clone and the last
/// [`Netref`] are dropped.
#[derive(Clone, RefCastCustom)]
#[repr(transparent)]
pub struct Connection(Arc<Peer>);

impl Connection {
    /// A connection over a transport that is connected. `peer` names the other end in error texts.
    ///
    /// # Errors
    /// What [`Object::on_connect`] of the root raises; the connection is closed then.
    pub fn over(
        transport: impl Into<Stream>,
        peer: impl Into<String>,
        config: Config,
        root: Arc<dyn Object>,
    ) -> Result<Self, Exception> {
        let link = Link::new(transport.into(), config.limits, 1);
        Self::begin(Wire::Blocking(Box::new(link)), peer.into(), config, root)
    }

    pub(crate) fn begin(
        wire: Wire,
        peer: String,
        config: Config,
        root: Arc<dyn Object>,
    ) -> Result<Self, Exception> {
        let conn = Self(Arc::new(Peer::new(wire, peer, config, root)));
        let root = Arc::clone(&conn.0.root);
        match guarded(|| root.on_connect(&conn)) {
            Ok(()) => {
                if let Some(limit) = conn.0.config.heartbeat {
                    conn.0.listen(limit);
                }
                Ok(conn)
            }
            Err(exception) => {
                conn.close();
                Err(exception)
            }
        }
    }

    /// Two connected ends in this process, with their roots: for tests, and for peers in threads.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (here, there) = rpyc::Connection::pair(None, None)?;
    /// let server = std::thread::spawn(move || there.serve_all());
    /// here.ping()?;
    /// here.close();
    /// server.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What [`Object::on_connect`] of a root raises.
    pub fn pair(
        one: Option<Arc<dyn Object>>,
        other: Option<Arc<dyn Object>>,
    ) -> Result<(Self, Self), Exception> {
        const CAPACITY: usize = 256 * 1024;
        let (a, b) = crate::transport::memory_pair(CAPACITY);
        let void = || -> Arc<dyn Object> { Arc::new(Void) };
        let one = Self::over(a, "memory", Config::default(), one.unwrap_or_else(void))?;
        let other = Self::over(b, "memory", Config::default(), other.unwrap_or_else(void))?;
        Ok((one, other))
    }

    pub(crate) const fn of(peer: Arc<Peer>) -> Self {
        Self(peer)
    }

    #[ref_cast_custom]
    pub(crate) const fn of_ref(peer: &Arc<Peer>) -> &Self;

    #[cfg(feature = "tokio")]
    pub(crate) const fn peer(&self) -> &Arc<Peer> {
        &self.0
    }

    /// The peer's root object.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn root(&self) -> Result<Netref> {
        self.root_in(self.request_root().wait()?)
    }

    /// The peer's root object as a type that values convert to, such as a proxy that
    /// `#[rpyc::proxy]` generated.
    ///
    /// # Errors
    /// As [`root`](Self::root); a conversion error.
    pub fn root_as<T: FromValue>(&self) -> Result<T> {
        self.root()?.extract()
    }

    /// Asks the peer for a sign of life, and waits for it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn ping(&self) -> Result<()> {
        const DATA: &str = "ping";
        match self.ask(Handler::Ping, vec![DATA.into_value()])? {
            Value::Str(echo) if echo == DATA => Ok(()),
            other => Err(crate::ConversionError::new("an echo", &other).into()),
        }
    }

    /// Bounds all requests together that `work` makes over this connection in the calling thread: when the time
    /// is over, the one that waits is given up, and no further one is begun. [`Error::TimedOut`] says so.
    /// Limits can be nested: the earliest counts. Tasks of a runtime have its own, which drop the future.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = rpyc::Server::builder().service(|_| rpyc::function(|x: i64| 2 * x)).bind("127.0.0.1:0")?;
    /// # let serving = server.serve_in_thread()?;
    /// # let conn = rpyc::connect(&server.address().to_string())?;
    /// use std::time::Duration;
    ///
    /// let answer = conn.within(Duration::from_secs(2), || {
    ///     let double = conn.root()?;
    ///     double.call((21,))?.extract::<i64>()
    ///         .map_err(rpyc::Error::from)
    /// })?;
    /// assert_eq!(answer, 42);
    /// # conn.close();
    /// # server.stop();
    /// # serving.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn within<T>(&self, limit: Duration, work: impl FnOnce() -> T) -> T {
        /// Also after a panic.
        struct Leave<'a>(&'a Peer, u64);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.deadlines.leave(self.1);
            }
        }
        let _leave = Leave(&self.0, self.0.deadlines.enter(limit));
        work()
    }

    /// Serves one message of the peer, or waits until another thread has. Tells whether one came
    /// within `timeout`.
    ///
    /// # Errors
    /// [`Error::ConnectionLost`].
    pub fn serve(&self, timeout: Duration) -> Result<bool> {
        let Some(link) = self.0.wire.link() else {
            return Err(Error::WouldBlockRuntime(
                "the runtime, which serves by itself",
            ));
        };
        let deadline = Instant::now().checked_add(timeout);
        let served = link.serve(&mut BlockingDriver::new(&self.0), deadline);
        served.map_err(|end| {
            self.0.clean_up();
            self.0.lost("serving", &end)
        })
    }

    /// Serves the peer until the connection ends.
    ///
    /// # Errors
    /// [`Error::ConnectionLost`], unless one of both ends closed the connection in an orderly way.
    pub fn serve_all(&self) -> Result<()> {
        let Some(link) = self.0.wire.link() else {
            return Err(Error::WouldBlockRuntime(
                "the runtime, which serves by itself",
            ));
        };
        let end = driver::serve_all(&self.0, link);
        if driver::is_orderly(end.cause()) {
            return Ok(());
        }
        Err(self.0.lost("serving", &end))
    }

    /// Serves the peer in a thread of its own until the connection ends, so that its calls are
    /// answered while no thread waits for anything.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn serve_in_thread(&self) -> std::io::Result<JoinHandle<Result<()>>> {
        let conn = self.clone();
        std::thread::Builder::new()
            .name("rpyc-serve".to_owned())
            .spawn(move || conn.serve_all())
    }

    /// Ends the connection: the peer is told, and whoever waits is too. The peer has a second to hang
    /// up.
    pub fn close(&self) {
        if self.say_goodbye() {
            self.flush();
        }
        self.0.finish(EndCause::Closed);
    }

    /// As [`close`](Self::close), but waits for nothing: what can't be sent at once is not sent.
    pub(crate) fn hang_up(&self) {
        if self.say_goodbye() {
            self.0.wire.flush_out();
        }
        self.0.finish(EndCause::Closed);
    }

    /// Tells the peer that the connection ends, unless it has ended.
    fn say_goodbye(&self) -> bool {
        if self.0.wire.end().is_some() {
            return false;
        }
        let request = self.0.request(Handler::Close, |model, out| {
            boxing::put_boxed(model, out, &Value::Tuple(Vec::new())).map_err(Error::from)
        });
        request.send().cancel();
        true
    }

    /// Whether nothing is going on: no request is being performed, or waits to be, and nothing to be sent.
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.wire.is_quiet()
    }

    /// Whether messages wait to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.0.wire.link().is_some_and(Link::has_unsent)
    }

    /// See [`Link::on_unread`].
    pub(crate) fn on_unread(&self, callback: impl Fn() + Send + Sync + 'static) {
        if let Some(link) = self.0.wire.link() {
            link.on_unread(callback);
        }
    }

    fn flush(&self) {
        if let Some(link) = self.0.wire.link() {
            let deadline = Instant::now() + CLOSING;
            let mut driver = BlockingDriver::new(&self.0);
            // What can't be sent by then is not missed. The peer hangs up: what it still sends until
            // then would be refused by a socket that is gone, and spoil its orderly end.
            if link.flush(&mut driver, Some(deadline)).is_ok() {
                let _ = link.wait(
                    &mut driver,
                    &mut |_: &mut BlockingDriver<'_>| false,
                    Some(deadline),
                );
            }
        }
    }

    /// Whether the connection has ended, as far as this end knows.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.wire.end().is_some()
    }

    /// Whether it goes on, as far as one can tell without asking the peer. Handles what is no concern of
    /// the user's.
    pub(crate) fn is_alive(&self) -> bool {
        if let Some(link) = self.0.wire.link()
            && link.end().is_none()
        {
            // The peer may have hung up while nobody was looking.
            self.0.look(link);
        }
        if self.is_closed() {
            self.0.clean_up();
        }
        !self.is_closed()
    }

    /// Another connection has taken the place of this one, which has ended.
    pub(crate) fn note_replaced(&self) {
        self.0.note_replaced();
    }

    /// Why the connection ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<ConnectionLost> {
        let end = self.0.wire.end()?;
        Some(self.0.connection_lost("the connection", &end))
    }

    /// Who is at the other end: the address that was connected to, or that the connection came from.
    #[must_use]
    pub fn peer_name(&self) -> &str {
        self.0.name()
    }

    /// How many objects of ours the peer holds references to.
    #[must_use]
    pub fn exported(&self) -> usize {
        self.0.exports.lock().len()
    }

    /// How many objects of the peer we hold proxies of.
    #[must_use]
    pub fn proxied(&self) -> usize {
        self.0.netrefs().len()
    }

    /// Performs a request that is not on an object.
    fn ask(&self, handler: Handler, args: Vec<Value>) -> Result<Value> {
        self.request(handler, args).wait()
    }

    pub(crate) fn request(&self, handler: Handler, args: Vec<Value>) -> Request<'_> {
        self.0.request(handler, |model: &mut Model<'_>, out| {
            boxing::put_boxed(model, out, &Value::Tuple(args)).map_err(Error::from)
        })
    }
}

impl Peer {
    pub(crate) const fn wire(&self) -> &Wire {
        &self.wire
    }

    #[cfg(feature = "tokio")]
    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }
}

impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.0.name())
            .field("closed", &self.is_closed())
            .finish()
    }
}
