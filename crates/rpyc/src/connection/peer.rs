//! One end of a connection, whoever drives it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use rpyc_proto::boxing;
use rpyc_proto::consts::{COMPRESSION_THRESHOLD, Handler, MessageKind};
use rpyc_proto::dispatch;
use rpyc_proto::exports::Exports;
use rpyc_proto::id::IdPack;
use rpyc_proto::message::{self, Dialect};
use rpyc_proto::wire::Writer;

use super::Connection;
use super::cancel::GivenUp;
use super::heartbeat::Heartbeat;
use super::model::{Model, Stop};
use super::request::{Request, name_of, over};
use super::wire::Wire;
use crate::config::Config;
use crate::error::{ConnectionLost, Error, Exception, Result};
use crate::link::{Deadlines, End, EndCause};
use crate::netref::Netrefs;
use crate::object::Object;
use crate::sync::Instant;
use crate::value::Value;
use crate::waiter::{Outcome, Waiter};

/// The state of one end of a connection.
pub(crate) struct Peer {
    pub(super) wire: Wire,
    /// Who is at the other end, for error texts.
    name: String,
    pub(super) config: Config,
    pub(super) root: Arc<dyn Object>,
    pub(super) exports: Mutex<Exports<Value>>,
    netrefs: Netrefs,
    dialect: AtomicU8,
    /// A callback was set for an answer: handling one may run code of the user.
    pub(super) has_callbacks: AtomicBool,
    /// Limits that threads have set.
    pub(super) deadlines: Deadlines,
    pub(super) given_up: GivenUp,
    pub(crate) heartbeat: Heartbeat,
    /// The peer was asked for an introduction, or is known to be of this package.
    pub(super) has_asked: AtomicBool,
    /// `on_disconnect` was called.
    ended: AtomicBool,
    /// It has ended, and there is another one in its place.
    replaced: AtomicBool,
}

impl Peer {
    pub(super) fn new(wire: Wire, name: String, config: Config, root: Arc<dyn Object>) -> Self {
        Self {
            wire,
            name,
            config,
            root,
            exports: Mutex::default(),
            netrefs: Netrefs::default(),
            dialect: AtomicU8::new(Dialect::V6 as u8),
            has_callbacks: AtomicBool::new(false),
            deadlines: Deadlines::default(),
            given_up: GivenUp::default(),
            heartbeat: Heartbeat::default(),
            has_asked: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// To be called before a callback is set for an answer.
    pub(crate) fn note_callback(&self) {
        self.has_callbacks.store(true, Ordering::Relaxed);
    }

    pub(crate) const fn netrefs(&self) -> &Netrefs {
        &self.netrefs
    }

    /// Starts a request: `fill` writes its boxed arguments.
    pub(crate) fn request(
        self: &Arc<Self>,
        handler: Handler,
        fill: impl FnOnce(&mut Model<'_>, &mut Writer<Bytes>) -> Result<()>,
    ) -> Request<'_> {
        let seq = self.wire.session().lock().take_seq();
        let mut request = Request::new(self, handler, seq);
        let out = &mut request.out;
        dispatch::put_request(out, self.dialect(), seq, i64::from(handler.number()));
        request.failed = match over(self, handler) {
            Some(error) => Some(error),
            None => fill(&mut Model::new(self), out).err(),
        };
        request
    }

    /// Gives references to an object of the peer back. They leave within a millisecond, without waiting
    /// here.
    pub(crate) fn release(&self, id: &[u8], count: i64) {
        if count <= 0 || self.wire.end().is_some() {
            return;
        }
        self.push_release(id, count);
        self.wire.flush_unhurried();
    }

    /// Queues a release; it leaves with what is sent next.
    pub(super) fn push_release(&self, id: &[u8], count: i64) {
        self.push_own(Handler::Del, Waiter::Nobody, |out| {
            dispatch::put_target(out, id, 1);
            dispatch::put_boxed_with(out, |out| out.put_int(count));
        });
    }

    /// Queues a request of the connection itself: `fill` writes its boxed arguments.
    pub(super) fn push_own(
        &self,
        handler: Handler,
        waiter: Waiter,
        fill: impl FnOnce(&mut Writer<Bytes>),
    ) {
        let seq = {
            let mut session = self.wire.session().lock();
            let seq = session.take_seq();
            // Without room for one more request the answer is an orphan, which is fine.
            let _ = session.begin_numbered(seq, waiter);
            seq
        };
        let mut out = Writer::new_frame();
        let handler = i64::from(handler.number());
        dispatch::put_request(&mut out, self.dialect(), seq, handler);
        fill(&mut out);
        if let Ok(frame) = out.seal() {
            self.wire.push_unhurried(frame);
        }
    }

    /// Queues the answer to a release.
    pub(super) fn reply_to_release(&self, seq: &[u8]) {
        self.forget_request(seq);
        let mut out = self.start(MessageKind::Reply, seq);
        dispatch::put_boxed_with(&mut out, Writer::put_none);
        if let Ok(frame) = out.seal() {
            self.wire.push_unhurried(frame);
        }
    }

    /// Queues the answer to a request, which is done with.
    pub(crate) fn reply(self: &Arc<Self>, seq: &[u8], outcome: Result<Value, Exception>) {
        self.forget_request(seq);
        let failed = match &outcome {
            Ok(value) => self.push_reply(seq, value).err().map(Exception::from),
            Err(_) => None,
        };
        let Some(exception) = failed.or_else(|| outcome.err()) else {
            return;
        };
        let mut out = self.start(MessageKind::Exception, seq);
        let written = exception.write(&mut out);
        if written.is_ok() {
            // What is too long for a frame has no other answer.
            let _ = self.push(&mut out);
        }
    }

    fn push_reply(self: &Arc<Self>, seq: &[u8], value: &Value) -> Result<()> {
        let mut out = self.start(MessageKind::Reply, seq);
        boxing::put_boxed(&mut Model::new(self), &mut out, value).map_err(Stop::into_error)?;
        self.push(&mut out)?;
        Ok(())
    }

    #[inline(always)]
    fn start(&self, kind: MessageKind, seq: &[u8]) -> Writer<Bytes> {
        let mut out = Writer::new_frame();
        message::put_head(&mut out, self.dialect(), kind, seq);
        out
    }

    /// Completes a message and queues it. Where a look at the clock can be saved: a moment just before.
    pub(super) fn push(&self, out: &mut Writer<Bytes>) -> Result<Option<Instant>> {
        let frame = match out.seal() {
            Ok(frame) => frame,
            Err(error) => return Err(Error::Limit(error.to_string())),
        };
        if frame.len() > COMPRESSION_THRESHOLD
            && self.config.compression
            && !self.wire.is_local()
            && frame.compressible()
        {
            return Ok(self.wire.push(&mut frame.take().compressed()));
        }
        Ok(self.wire.push(frame))
    }

    pub(super) fn dialect(&self) -> Dialect {
        if self.dialect.load(Ordering::Relaxed) == Dialect::V5 as u8 {
            Dialect::V5
        } else {
            Dialect::V6
        }
    }

    /// Answers go out in the layout that the peer's messages come in.
    pub(super) fn settle_dialect(&self, dialect: Dialect) {
        self.dialect.store(dialect as u8, Ordering::Relaxed);
    }

    /// An answer that nobody waits for: what it refers to is released, undecoded.
    pub(super) fn release_refs<'a>(&self, ids: impl IntoIterator<Item = IdPack<'a>>) {
        ids.into_iter()
            .for_each(|id| self.push_release(id.encoded, 1));
    }

    /// The object behind an id.
    pub(super) fn export(&self, id: &IdPack<'_>) -> Option<Value> {
        let table = self.exports.lock();
        let entry = table
            .get(id.encoded)
            .or_else(|| table.get(id.canonical().as_bytes()));
        entry.map(|entry| entry.object.clone())
    }

    /// Ends the connection for this reason, unless it has ended, and cleans up.
    pub(crate) fn finish(self: &Arc<Self>, cause: EndCause) {
        self.wire.finish(cause);
        self.clean_up();
    }

    /// The error of an operation on a connection that has ended.
    pub(crate) fn lost(&self, operation: impl Into<String>, end: &End) -> Error {
        Error::ConnectionLost(Box::new(self.connection_lost(operation, end)))
    }

    pub(super) fn connection_lost(
        &self,
        operation: impl Into<String>,
        end: &End,
    ) -> ConnectionLost {
        ConnectionLost {
            operation: operation.into(),
            peer: self.name.clone(),
            cause: end.cause().clone(),
            replaced: self.replaced.load(Ordering::Acquire),
        }
    }

    /// Another connection has taken the place of this one, which has ended.
    pub(super) fn note_replaced(&self) {
        self.replaced.store(true, Ordering::Release);
    }

    /// Whether somebody has noticed the end, and done what it asks for.
    pub(super) fn is_cleaned_up(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Once, when the connection has ended: tells the root, fails what waits, lets all objects go.
    pub(super) fn clean_up(self: &Arc<Self>) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let end = self.wire.end();
        let end = end.unwrap_or_else(|| Arc::new(End::of(EndCause::Closed)));
        let waiters: Vec<_> = self.wire.session().lock().drain().collect();
        for waiter in waiters {
            if let Waiter::Slot(slot) = waiter {
                let operation = name_of(slot.handler());
                let lost = self.lost(operation, &end);
                if let Some(notice) = slot.put(Outcome::Failed(lost)) {
                    notice.give();
                }
            }
        }
        super::perform::guarded(|| {
            self.root.on_disconnect(Connection::of_ref(self));
            Ok(())
        })
        .ok();
        let objects = self.exports.lock().drain();
        drop(objects);
    }
}

/// The last handle is gone, and with it all proxies: nobody can use this end any more.
impl Drop for Peer {
    fn drop(&mut self) {
        // Calls that nobody waits for may be queued.
        self.wire.flush_out();
        self.wire.finish(EndCause::Closed);
    }
}
