//! A fixed number of threads for all connections.
//!
//! # Theory of operation
//!
//! The workers share one `epoll` set. Each connection is in it with one shot: the worker that gets
//! its event serves what there is, and then arms it anew. So one worker at a time serves a
//! connection, and one that waits for its peer in a nested call has it for itself. While another worker
//! is idle it lingers for a moment before it arms: to be woken takes several times as long as a short call.
//!
//! What the kernel does not know of comes through a queue, with an event descriptor in the same set:
//! new connections, those that had more to say than one turn takes, and those where another thread of
//! the program, waiting for an answer of its own, received requests too and left.
//!
//! `Turn` keeps both ways apart: who finds a connection being served leaves a note, and the worker
//! looks again before it arms.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, epoll};

use super::Shared;
use super::peer::PeerInfo;
use crate::connection::Connection;
use crate::opening::Entrance;

/// How many messages of one connection are served before it is another one's turn.
const BATCH: usize = 64;
/// How long a worker waits for a connection's next message.
const LINGER: Duration = Duration::from_micros(200);
/// The event descriptor in the set; connections count up from 0.
const WAKE: u64 = u64::MAX;

/// The connections of a server, for its workers.
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    epoll: OwnedFd,
    wake: OwnedFd,
    jobs: Mutex<VecDeque<Job>>,
    members: Mutex<HashMap<u64, Arc<Member>>>,
    /// Workers that wait for any connection.
    idle: AtomicUsize,
    stopping: AtomicBool,
}

enum Job {
    /// A socket was accepted, and its handshake is over.
    Begin(u64, Box<(Entrance, PeerInfo)>),
    /// A connection has requests in memory.
    Serve(u64),
}

/// An open connection.
struct Member {
    key: u64,
    conn: Connection,
    /// Kept open for as long as it is in the set.
    socket: Arc<OwnedFd>,
    turn: Turn,
}

/// What a worker does until it is told to stop.
pub(super) fn work(shared: &Arc<Shared>) {
    let Some(Pool(pool)) = &shared.pool else {
        return;
    };
    let mut events = Vec::with_capacity(1);
    while !pool.stopping.load(Ordering::Acquire) {
        events.clear();
        let space = rustix::buffer::spare_capacity(&mut events);
        pool.idle.fetch_add(1, Ordering::Relaxed);
        let waited = epoll::wait(&pool.epoll, space, None);
        pool.idle.fetch_sub(1, Ordering::Relaxed);
        if waited.is_err() {
            // A signal.
            continue;
        }
        let Some(event) = events.first() else {
            continue;
        };
        match event.data.u64() {
            WAKE => match pool.next_job() {
                Some(Job::Begin(key, opened)) => pool.begin(shared, key, *opened),
                Some(Job::Serve(key)) => pool.serve(shared, key),
                None => {}
            },
            key => pool.serve(shared, key),
        }
    }
}

impl Pool {
    pub(super) fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK | EventfdFlags::SEMAPHORE;
        let wake = rustix::event::eventfd(0, flags)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(WAKE);
        epoll::add(&epoll, &wake, data, epoll::EventFlags::IN)?;
        Ok(Self(Arc::new(Inner {
            epoll,
            wake,
            jobs: Mutex::default(),
            members: Mutex::default(),
            idle: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        })))
    }

    /// Hands a socket to a worker, which makes a connection of it.
    pub(super) fn begin(&self, key: u64, opening: Entrance, peer: PeerInfo) {
        self.0.push(Job::Begin(key, Box::new((opening, peer))));
    }

    /// The workers leave. The connections are closed by then.
    pub(super) fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        self.0.ring();
        let members = std::mem::take(&mut *self.0.members.lock());
        let jobs = std::mem::take(&mut *self.0.jobs.lock());
        drop((members, jobs));
    }
}

impl Inner {
    fn push(&self, job: Job) {
        self.jobs.lock().push_back(job);
        self.ring();
    }

    fn ring(&self) {
        // It fails when the counter is full, and then it rings anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn next_job(&self) -> Option<Job> {
        if self.stopping.load(Ordering::Acquire) {
            // The bell goes on ringing for the other workers.
            return None;
        }
        // Another worker may have been quicker.
        rustix::io::read(&self.wake, &mut [0u8; 8]).ok()?;
        self.jobs.lock().pop_front()
    }

    /// Makes a connection, and waits for what it has to say.
    fn begin(self: &Arc<Self>, shared: &Shared, key: u64, (opening, peer): (Entrance, PeerInfo)) {
        let socket = opening.socket();
        let Some(conn) = shared.begin(key, opening, &peer) else {
            shared.connections.remove(key);
            return;
        };
        let member = Arc::new(Member {
            key,
            conn,
            socket,
            turn: Turn::default(),
        });
        let pool = Arc::downgrade(self);
        let weak = Arc::downgrade(&member);
        member.conn.on_unread(move || unread(&pool, &weak));
        self.members.lock().insert(key, Arc::clone(&member));
        let data = epoll::EventData::new_u64(key);
        if let Err(errno) = epoll::add(&self.epoll, &*member.socket, data, wanted(&member.conn)) {
            log::error!(
                "{}: {} is not served: {errno}",
                shared.address(),
                peer.name()
            );
            member.conn.hang_up();
            self.forget(shared, &member);
        }
        // What came with the end of a handshake is in memory already: no event tells of it.
        self.serve(shared, key);
    }

    /// Serves a connection that has something to say.
    fn serve(&self, shared: &Shared, key: u64) {
        let member = self.members.lock().get(&key).cloned();
        let Some(member) = member.filter(|member| member.turn.begin()) else {
            return;
        };
        loop {
            match self.serve_some(&member.conn) {
                Served::All => {}
                Served::Enough => {
                    // A reminder is not lost: the job that follows looks again.
                    member.turn.leave();
                    self.push(Job::Serve(key));
                    return;
                }
                Served::Ended => {
                    self.forget(shared, &member);
                    return;
                }
            }
            if member.turn.end() {
                break;
            }
        }
        let data = epoll::EventData::new_u64(key);
        // It fails if the connection was removed meanwhile.
        let _ = epoll::modify(&self.epoll, &*member.socket, data, wanted(&member.conn));
    }

    fn serve_some(&self, conn: &Connection) -> Served {
        for _ in 0..BATCH {
            let others_wait = self.idle.load(Ordering::Relaxed) == 0;
            match conn.serve(if others_wait { Duration::ZERO } else { LINGER }) {
                Ok(true) => {}
                Ok(false) => return Served::All,
                Err(_) => return Served::Ended,
            }
        }
        Served::Enough
    }

    fn forget(&self, shared: &Shared, member: &Arc<Member>) {
        log::debug!("{}: {} has left", shared.address(), member.conn.peer_name());
        let _ = epoll::delete(&self.epoll, &*member.socket);
        let removed = self.members.lock().remove(&member.key);
        drop(removed);
        shared.connections.remove(member.key);
    }
}

/// A thread of the program left requests behind that it had received with its own answer.
fn unread(pool: &Weak<Inner>, member: &Weak<Member>) {
    if let (Some(pool), Some(member)) = (pool.upgrade(), member.upgrade())
        && member.turn.remind()
    {
        pool.push(Job::Serve(member.key));
    }
}

/// What to wait for: with unsent answers, also for room to send them.
fn wanted(conn: &Connection) -> epoll::EventFlags {
    let wanted = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
    if conn.has_unsent() {
        wanted | epoll::EventFlags::OUT
    } else {
        wanted
    }
}

enum Served {
    /// There is no more for now.
    All,
    /// There may be more, but others wait too.
    Enough,
    /// The connection has ended.
    Ended,
}

/// Whose turn it is with a connection.
#[derive(Debug, Default)]
struct Turn(AtomicU8);

const FREE: u8 = 0;
const TAKEN: u8 = 1;
const TAKEN_AND_REMINDED: u8 = 2;

impl Turn {
    /// Takes the turn. `false`: another worker has it, and will look again.
    fn begin(&self) -> bool {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |turn| {
                Some(if turn == FREE {
                    TAKEN
                } else {
                    TAKEN_AND_REMINDED
                })
            })
            .is_ok_and(|before| before == FREE)
    }

    /// Gives the turn back. `false`: there was a reminder, and the turn goes on.
    fn end(&self) -> bool {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |turn| {
                Some(if turn == TAKEN { FREE } else { TAKEN })
            })
            .is_ok_and(|before| before == TAKEN)
    }

    /// Gives the turn back, whatever was said meanwhile.
    fn leave(&self) {
        self.0.store(FREE, Ordering::Release);
    }

    /// Tells whoever has the turn to look again. `true`: nobody has it.
    fn remind(&self) -> bool {
        self.0
            .compare_exchange(
                TAKEN,
                TAKEN_AND_REMINDED,
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_err_and(|turn| turn == FREE)
    }
}
