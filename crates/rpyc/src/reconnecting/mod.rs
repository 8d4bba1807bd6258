//! Clients that connect again when their connection was lost.
//!
//! A connection and the proxies of its objects stay what they are: of one conversation with one peer, which
//! is over when it is over. So this is not a connection but something that has one.
//!
//! `plan` says when to try and when to give up, `current` has the connection and whose turn it is to make a
//! new one. Both are the same for threads and for tasks; what differs is how one connects and waits.

#[cfg(feature = "tokio")]
mod asynchronous;
mod current;
mod event;
mod plan;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

#[cfg(feature = "tokio")]
pub use asynchronous::AsyncReconnectingClient;
use current::{Current, Step, User};
pub use event::ReconnectEvent;

use crate::connect::Connector;
use crate::connection::Connection;
use crate::error::ReconnectError;
use crate::netref::Netref;

/// How clients are made, and closed: the same for both kinds.
macro_rules! options {
    ($connection:ty) => {
        /// A client that connects with this connector.
        #[must_use]
        pub fn new(connector: Connector) -> Self {
            Self(Arc::new(Current::new(connector, Default::default())))
        }

        /// How often it is tried until the client gives up: 10 times by default, once at least.
        #[must_use]
        pub fn attempts(self, attempts: u32) -> Self {
            let planned = self.0.planned(|plan| plan.attempts = attempts.max(1));
            Self(Arc::new(planned))
        }

        /// After how long no further attempt begins: 60 seconds by default.
        #[must_use]
        pub fn time_limit(self, limit: Duration) -> Self {
            let planned = self.0.planned(|plan| plan.time_limit = limit);
            Self(Arc::new(planned))
        }

        /// How long to wait before the second attempt, about, and before any: 0.1 and 5 seconds by default.
        /// Each pause is up to twice as long as the one before; how long exactly is chosen at random, so that
        /// many clients of one server don't come back together.
        #[must_use]
        pub fn delays(self, first: Duration, longest: Duration) -> Self {
            let planned =
                (self.0).planned(|plan| (plan.first_delay, plan.longest_delay) = (first, longest));
            Self(Arc::new(planned))
        }

        /// Has `listener` called when something happens, by whoever found out. It must neither wait for
        /// something nor use the client. Everything is also logged.
        #[must_use]
        pub fn on_event(
            self,
            listener: impl Fn(&ReconnectEvent<'_, $connection>) + Send + Sync + 'static,
        ) -> Self {
            let planned = self
                .0
                .planned(|plan| plan.on_event = Some(Arc::new(listener)));
            Self(Arc::new(planned))
        }

        /// Closes the connection, and makes no new one. An attempt that is under way ends at its next pause.
        pub fn close(&self) {
            self.0.close();
        }
    };
}
#[cfg(feature = "tokio")]
use options;

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
#[derive(Clone, Debug)]
pub struct ReconnectingClient(Arc<Current<Connection>>);

impl ReconnectingClient {
    options!(Connection);

    /// A live connection: the current one, or a new one.
    ///
    /// # Errors
    /// See [`ReconnectError`].
    pub fn connection(&self) -> Result<Connection, ReconnectError> {
        let current = &*self.0;
        let visit = current.visit(User::Thread(thread::current().id()));
        let mut turn = loop {
            match current.step(&visit) {
                Some(Step::Done(outcome)) => return outcome,
                Some(Step::Connect(turn)) => break turn,
                None => current.wait(&visit),
            }
        };
        loop {
            turn.next_attempt()?;
            match current.connector.connect() {
                Ok(connection) => return turn.connected(connection),
                Err(error) => current.pause(turn.failed(error)?),
            }
        }
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
}
