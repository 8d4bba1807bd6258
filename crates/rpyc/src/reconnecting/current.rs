//! The current connection of a client, and whose turn it is to make the next one.
//!
//! # Theory of operation
//!
//! Whoever uses the client asks [`Current::step`] what to do: use the connection that is there, make a new
//! one, or wait while another user does. It never blocks; threads and tasks wait between two steps, each in
//! their own way. The [`Turn`] of the one who connects is over when it is dropped, so also after a panic, or
//! with the future of a task that has lost interest: the next one in line takes over.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::ReconnectEvent;
use super::plan::Plan;
use crate::connect::Connector;
use crate::connection::{Connection, guarded};
use crate::error::{ConnectError, ReconnectError};
use crate::signal::Signal;

/// What clones of a client share; its connections are `C`.
pub(super) struct Current<C> {
    pub(super) connector: Connector,
    plan: Plan<C>,
    state: Mutex<State<C>>,
    pub(super) changed: Signal,
}

struct State<C> {
    conn: Option<C>,
    /// Who is connecting.
    connecting: Option<User>,
    /// How often somebody has given up, and what came of it last.
    failures: u64,
    failed: Option<ReconnectError>,
    closed: bool,
}

/// Who uses a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    Thread(ThreadId),
    #[cfg(feature = "tokio")]
    Task,
}

/// One use of a client.
pub(super) struct Visit {
    user: User,
    /// How often somebody had given up before.
    failures: u64,
}

/// What a user has to do.
pub(super) enum Step<'a, C: Borrow<Connection>> {
    /// Nothing: there is a live connection, or there will be none.
    Done(Result<C, ReconnectError>),
    /// Connect, for all.
    Connect(Turn<'a, C>),
}

/// While it lives, its owner connects, and the others wait.
pub(super) struct Turn<'a, C: Borrow<Connection>> {
    current: &'a Current<C>,
    attempt: u32,
    started: Instant,
}

impl<C: Clone + PartialEq + Borrow<Connection>> Current<C> {
    pub(super) fn new(connector: Connector, plan: Plan<C>) -> Self {
        let state = State {
            conn: None,
            connecting: None,
            failures: 0,
            failed: None,
            closed: false,
        };
        Self {
            connector,
            plan,
            state: Mutex::new(state),
            changed: Signal::default(),
        }
    }

    /// The same with another plan. It has no connection yet.
    pub(super) fn planned(&self, change: impl FnOnce(&mut Plan<C>)) -> Self {
        let mut plan = self.plan.clone();
        change(&mut plan);
        Self::new(self.connector.clone(), plan)
    }

    pub(super) fn visit(&self, user: User) -> Visit {
        let failures = self.state.lock().failures;
        Visit { user, failures }
    }

    /// What to do. `None`: wait until another user has connected, or given up, and ask again.
    pub(super) fn step(&self, visit: &Visit) -> Option<Step<'_, C>> {
        loop {
            let mut state = self.state.lock();
            if state.closed {
                return Some(Step::Done(Err(ReconnectError::Closed)));
            }
            if matches!(visit.user, User::Thread(_)) && state.connecting == Some(visit.user) {
                return Some(Step::Done(Err(ReconnectError::Connecting)));
            }
            if state.failures != visit.failures
                && let Some(failed) = &state.failed
            {
                return Some(Step::Done(Err(failed.clone())));
            }
            if state.connecting.is_some() {
                return None;
            }
            let Some(conn) = state.conn.clone() else {
                state.connecting = Some(visit.user);
                drop(state);
                return Some(Step::Connect(Turn::begin(self)));
            };
            drop(state);
            // It may handle messages: not under the lock.
            if conn.borrow().is_alive() {
                return Some(Step::Done(Ok(conn)));
            }
            let mut state = self.state.lock();
            if state.connecting.is_none() && !state.closed && state.conn.as_ref() == Some(&conn) {
                state.connecting = Some(visit.user);
                let listed = state.conn.take();
                drop(state);
                drop(listed);
                let turn = Turn::begin(self);
                turn.note_lost(conn.borrow());
                return Some(Step::Connect(turn));
            }
        }
    }

    /// Blocks until there may be another step to take.
    pub(super) fn wait(&self, visit: &Visit) {
        let mut state = self.state.lock();
        // Bounded: who connects gives up at some time.
        while state.connecting.is_some() && !state.closed && state.failures == visit.failures {
            self.changed.wait(&mut state);
        }
    }

    /// Blocks for this long, or until the client is closed.
    pub(super) fn pause(&self, delay: Duration) {
        let deadline = Instant::now() + delay;
        let mut state = self.state.lock();
        while !state.closed {
            if self.changed.wait_until(&mut state, deadline) {
                return;
            }
        }
    }

    #[cfg(feature = "tokio")]
    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Closes the connection, and makes no new one.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let conn = state.conn.take();
        drop(state);
        self.changed.give();
        if let Some(conn) = conn {
            conn.borrow().close();
        }
    }
}

impl<C: Borrow<Connection>> Current<C> {
    fn tell(&self, event: &ReconnectEvent<'_, C>) {
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

impl<'a, C: Borrow<Connection>> Turn<'a, C> {
    fn begin(current: &'a Current<C>) -> Self {
        Self {
            current,
            attempt: 0,
            started: Instant::now(),
        }
    }

    /// Proxies of the lost connection say from now on where to get their objects again.
    fn note_lost(&self, lost: &Connection) {
        lost.note_replaced();
        if let Some(end) = lost.end() {
            self.current.tell(&ReconnectEvent::Lost(&end));
        }
    }

    /// Before each attempt.
    pub(super) fn next_attempt(&mut self) -> Result<(), ReconnectError> {
        if self.current.state.lock().closed {
            return Err(ReconnectError::Closed);
        }
        self.attempt += 1;
        Ok(())
    }

    /// The attempt failed: how long to pause before the next one, or that there will be none.
    pub(super) fn failed(&self, error: ConnectError) -> Result<Duration, ReconnectError> {
        let (attempt, elapsed) = (self.attempt, self.started.elapsed());
        if let Some(delay) = self.current.plan.next(attempt, elapsed, &error) {
            self.current.tell(&ReconnectEvent::Failed {
                attempt,
                delay,
                error: &error,
            });
            return Ok(delay);
        }
        let error = ReconnectError::Unreachable {
            attempts: attempt,
            elapsed,
            last: Arc::new(error),
        };
        self.current.tell(&ReconnectEvent::GaveUp(&error));
        let mut state = self.current.state.lock();
        state.failures += 1;
        let before = state.failed.replace(error.clone());
        drop(state);
        drop(before);
        Err(error)
    }

    /// The attempt succeeded: the connection is everybody's, unless the client was closed meanwhile.
    pub(super) fn connected(self, connection: C) -> Result<C, ReconnectError>
    where
        C: Clone,
    {
        self.current.tell(&ReconnectEvent::Connected {
            connection: &connection,
            attempt: self.attempt,
        });
        let mut state = self.current.state.lock();
        if state.closed {
            drop(state);
            connection.borrow().close();
            return Err(ReconnectError::Closed);
        }
        state.conn = Some(connection.clone());
        Ok(connection)
    }
}

impl<C: Borrow<Connection>> Drop for Turn<'_, C> {
    fn drop(&mut self) {
        self.current.state.lock().connecting = None;
        self.current.changed.give();
    }
}

impl<C> fmt::Debug for Current<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current")
            .field("address", self.connector.address())
            .finish_non_exhaustive()
    }
}
