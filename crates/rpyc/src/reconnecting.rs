//! A client that connects again when its connection was lost.
//!
//! A connection and the proxies of its objects stay what they are: of one conversation with one peer, which
//! is over when it is over. So this is not a connection but something that has one.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::connect::Connector;
use crate::connection::{Connection, guarded};
use crate::error::{ConnectError, ConnectionLost, ReconnectError};
use crate::netref::Netref;
use crate::random::unguessable;

/// Has a connection, and makes a new one when that was lost. Clones are the same client.
///
/// [`root`](Self::root) and [`connection`](Self::connection) are of a live connection. Proxies of an
/// earlier one fail with [`Error::ConnectionLost`](crate::Error::ConnectionLost), whose text says where to get
/// the object again; they never reach another one. A call that was under way when the connection was lost
/// fails, too: it may have been performed or not, and only the program knows whether to repeat it.
///
/// A loss is noticed when the client is used, or when something waits on the connection;
/// [`Config::heartbeat`](crate::Config::heartbeat) finds silent peers. The first connection is made at the
/// first use. Any thread may use a client; only one connects, and the others wait for it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = rpyc::Server::builder().service(|_| rpyc::function(|x: i64| 2 * x)).bind("127.0.0.1:0")?;
/// # let serving = server.serve_in_thread()?;
/// # let address = server.address().to_string();
/// let client = rpyc::ReconnectingClient::new(rpyc::Connector::new(&address)?).attempts(5);
/// assert_eq!(client.root()?.call((21,))?.extract::<i64>()?, 42);
/// client.connection()?.close();
/// // Over a new connection:
/// assert_eq!(client.root()?.call((1,))?.extract::<i64>()?, 2);
/// client.close();
/// # server.stop();
/// # serving.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ReconnectingClient(Arc<Inner>);

/// What happened to a [`ReconnectingClient`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ReconnectEvent<'a> {
    /// There is a new connection.
    Connected {
        /// The connection.
        connection: &'a Connection,
        /// How many attempts it took, from 1.
        attempt: u32,
    },
    /// The connection is lost.
    Lost(&'a ConnectionLost),
    /// An attempt to connect failed; there will be another one.
    Failed {
        /// Which one, from 1.
        attempt: u32,
        /// When the next one follows.
        delay: Duration,
        /// Why it failed.
        error: &'a ConnectError,
    },
    /// The client has given up, until it is used again.
    GaveUp(&'a ReconnectError),
}

struct Inner {
    connector: Connector,
    plan: Plan,
    state: Mutex<State>,
    changed: Condvar,
}

/// How it is tried to connect.
#[derive(Clone)]
struct Plan {
    attempts: u32,
    time_limit: Duration,
    first_delay: Duration,
    longest_delay: Duration,
    on_event: Option<Listener>,
}

type Listener = Arc<dyn Fn(&ReconnectEvent<'_>) + Send + Sync>;

#[derive(Default)]
struct State {
    conn: Option<Connection>,
    /// Who is connecting.
    connecting: Option<ThreadId>,
    /// How often somebody has given up, and what came of it last.
    failures: u64,
    failed: Option<ReconnectError>,
    closed: bool,
}

impl ReconnectingClient {
    /// A client that connects with this connector.
    #[must_use]
    pub fn new(connector: Connector) -> Self {
        Self::with(
            connector,
            Plan {
                attempts: 10,
                time_limit: Duration::from_secs(60),
                first_delay: Duration::from_millis(100),
                longest_delay: Duration::from_secs(5),
                on_event: None,
            },
        )
    }

    /// How often it is tried until the client gives up: 10 times by default, once at least.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        self.planned(|plan| plan.attempts = attempts.max(1))
    }

    /// After how long no further attempt begins: 60 seconds by default.
    #[must_use]
    pub fn time_limit(self, limit: Duration) -> Self {
        self.planned(|plan| plan.time_limit = limit)
    }

    /// How long to wait before the second attempt, about, and before any: 0.1 and 5 seconds by default. Each
    /// pause is up to twice as long as the one before; how long exactly is chosen at random, so that many
    /// clients of one server don't come back together.
    #[must_use]
    pub fn delays(self, first: Duration, longest: Duration) -> Self {
        self.planned(|plan| (plan.first_delay, plan.longest_delay) = (first, longest))
    }

    /// Has `listener` called when something happens, by the thread that found out. It must not use the
    /// client. Everything is also logged.
    #[must_use]
    pub fn on_event(self, listener: impl Fn(&ReconnectEvent<'_>) + Send + Sync + 'static) -> Self {
        self.planned(|plan| plan.on_event = Some(Arc::new(listener)))
    }

    /// A live connection: the current one, or a new one.
    ///
    /// # Errors
    /// See [`ReconnectError`].
    pub fn connection(&self) -> Result<Connection, ReconnectError> {
        let inner = &*self.0;
        let me = thread::current().id();
        let mut state = inner.state.lock();
        let failures = state.failures;
        loop {
            if state.closed {
                return Err(ReconnectError::Closed);
            }
            if state.connecting == Some(me) {
                return Err(ReconnectError::Connecting);
            }
            if state.connecting.is_some() {
                // Bounded: who connects gives up at some time.
                inner.changed.wait(&mut state);
                if state.failures != failures
                    && let Some(failed) = &state.failed
                {
                    return Err(failed.clone());
                }
                continue;
            }
            let Some(conn) = state.conn.clone() else {
                break;
            };
            drop(state);
            // It may handle messages: not under the lock.
            if conn.is_alive() {
                return Ok(conn);
            }
            state = inner.state.lock();
            if state.connecting.is_none() && state.conn.as_ref() == Some(&conn) {
                break;
            }
        }
        state.connecting = Some(me);
        let lost = state.conn.take();
        drop(state);
        inner.replace(lost)
    }

    /// The peer's root object, over a live connection.
    ///
    /// # Errors
    /// See [`ReconnectError`].
    pub fn root(&self) -> Result<Netref, ReconnectError> {
        match self.connection()?.root() {
            // Lost just now; nothing was asked for yet.
            Err(crate::Error::ConnectionLost(_)) => Ok(self.connection()?.root()?),
            other => Ok(other?),
        }
    }

    /// Closes the connection, and makes no new one. An attempt that is under way ends at its next pause.
    pub fn close(&self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        let conn = state.conn.take();
        drop(state);
        self.0.changed.notify_all();
        if let Some(conn) = conn {
            conn.close();
        }
    }

    fn with(connector: Connector, plan: Plan) -> Self {
        Self(Arc::new(Inner {
            connector,
            plan,
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// A client with another plan. It has no connection yet.
    fn planned(self, change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = self.0.plan.clone();
        change(&mut plan);
        Self::with(self.0.connector.clone(), plan)
    }
}

impl Inner {
    /// Makes a connection, for all threads that wait for one.
    fn replace(&self, lost: Option<Connection>) -> Result<Connection, ReconnectError> {
        if let Some(lost) = lost {
            lost.note_replaced();
            if let Some(end) = lost.end() {
                self.tell(&ReconnectEvent::Lost(&end));
            }
        }
        // An authenticator is the user's code: a panic goes on, and the others must not wait for ever.
        let made = catch_unwind(AssertUnwindSafe(|| self.connect()));
        let mut state = self.state.lock();
        state.connecting = None;
        let mut made = match made {
            Ok(made) => made,
            Err(panic) => {
                drop(state);
                self.changed.notify_all();
                resume_unwind(panic);
            }
        };
        let late = match &made {
            Ok(conn) if state.closed => Some(conn.clone()),
            Ok(conn) => {
                state.conn = Some(conn.clone());
                None
            }
            Err(error) => {
                state.failures += 1;
                state.failed = Some(error.clone());
                None
            }
        };
        drop(state);
        self.changed.notify_all();
        if let Some(late) = late {
            late.close();
            made = Err(ReconnectError::Closed);
        }
        made
    }

    fn connect(&self) -> Result<Connection, ReconnectError> {
        let Plan {
            attempts,
            time_limit,
            ..
        } = self.plan;
        let started = Instant::now();
        let mut attempt = 0;
        loop {
            if self.state.lock().closed {
                return Err(ReconnectError::Closed);
            }
            attempt += 1;
            let error = match self.connector.connect() {
                Ok(connection) => {
                    let connection_made = ReconnectEvent::Connected {
                        connection: &connection,
                        attempt,
                    };
                    self.tell(&connection_made);
                    return Ok(connection);
                }
                Err(error) => error,
            };
            let elapsed = started.elapsed();
            if attempt >= attempts || elapsed >= time_limit || !is_passing(&error) {
                let error = ReconnectError::Unreachable {
                    attempts: attempt,
                    elapsed,
                    last: Arc::new(error),
                };
                self.tell(&ReconnectEvent::GaveUp(&error));
                return Err(error);
            }
            let delay = self.plan.delay(attempt).min(time_limit - elapsed);
            self.tell(&ReconnectEvent::Failed {
                attempt,
                delay,
                error: &error,
            });
            self.pause(delay);
        }
    }

    /// Waits, unless the client is closed.
    fn pause(&self, delay: Duration) {
        let deadline = Instant::now() + delay;
        let mut state = self.state.lock();
        while !state.closed {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }

    fn tell(&self, event: &ReconnectEvent<'_>) {
        let address = self.connector.address();
        match event {
            ReconnectEvent::Connected { attempt, .. } => {
                log::info!("{address}: connected (attempt {attempt})");
            }
            other => log::warn!("{other}"),
        }
        if let Some(listener) = &self.plan.on_event
            && let Err(exception) = guarded(|| {
                listener(event);
                Ok(())
            })
        {
            // What a listener does wrong must not cost the connection.
            log::error!("{address}: on_event: {exception}");
        }
    }
}

impl Plan {
    /// How long to wait after this attempt.
    fn delay(&self, attempt: u32) -> Duration {
        let whole = (self.first_delay)
            .saturating_mul(2u32.saturating_pow(attempt - 1))
            .min(self.longest_delay);
        // Between a half of it and all.
        let part = unguessable() as f64 / u64::MAX as f64;
        whole.mul_f64(0.5 + part / 2.0)
    }
}

/// Whether another attempt may have another result.
const fn is_passing(error: &ConnectError) -> bool {
    !matches!(
        error,
        ConnectError::Address { .. } | ConnectError::Handshake { .. }
    )
}

impl fmt::Display for ReconnectEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected {
                connection,
                attempt,
            } => write!(
                f,
                "connected to {} (attempt {attempt})",
                connection.peer_name()
            ),
            Self::Lost(lost) => lost.fmt(f),
            Self::Failed {
                attempt,
                delay,
                error,
            } => write!(
                f,
                "{error} (attempt {attempt}, the next one in {} ms)",
                delay.as_millis()
            ),
            Self::GaveUp(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for ReconnectingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReconnectingClient")
            .field("address", self.0.connector.address())
            .finish_non_exhaustive()
    }
}
