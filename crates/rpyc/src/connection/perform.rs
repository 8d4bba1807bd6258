//! What happens with each message, whoever drives the connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use rpyc_proto::boxing;
use rpyc_proto::consts::Handler;
use rpyc_proto::dispatch;
use rpyc_proto::exports::Released;
use rpyc_proto::introduction;
use rpyc_proto::message::Dialect;
use rpyc_proto::session::Event;
use rpyc_proto::wire::Payload;
use smallvec::SmallVec;

use super::Peer;
use super::cancel::performing;
use super::introduction::introduced;
use super::model::{Model, Stop};
use crate::error::{Error, Exception};
use crate::link::EndCause;
use crate::object::LaterReply;
use crate::waiter::{Outcome, Waiter};

/// Whoever handles a message holds the right to handle messages, and gives it up before code of the
/// user runs.
pub(crate) trait Role {
    /// Lets others handle the messages that follow.
    fn pass_on(&mut self);

    /// A method is about to run, or an object to be dropped.
    fn before_user_code(&mut self);
}

/// An encoded sequence number of the peer's. Longer ones than RPyC gives are allowed.
pub(crate) type Seq = SmallVec<[u8; 16]>;

/// What became of a message.
pub(crate) enum Handled {
    /// All of it is done, or queued.
    Done,
    /// A method goes on: its outcome is the answer to the request with this sequence number.
    Later {
        /// The encoded sequence number.
        seq: Seq,
        /// The outcome.
        future: LaterReply,
    },
}

impl Peer {
    /// Handles a message.
    ///
    /// # Errors
    /// The peer does not speak the protocol: the connection must end.
    pub(crate) fn handle(
        self: &Arc<Self>,
        payload: Payload<Bytes>,
        role: &mut impl Role,
    ) -> Result<Handled, EndCause> {
        self.settle_dialect(Dialect::of(&payload));
        let event = Event::of(&payload, || self.wire.session().lock());
        match event.map_err(EndCause::Message)? {
            Event::Request { seq, body } => {
                let seq = Seq::from_slice(payload.head.get(seq).unwrap_or_default());
                return self.perform(payload, seq, body, role);
            }
            Event::Answer {
                waiter: Waiter::Nobody,
                ..
            } => {}
            Event::Answer {
                waiter: Waiter::Cancel,
                is_exception,
                ..
            } => self.note_cancel_answer(is_exception),
            Event::Answer {
                waiter: Waiter::Slot(slot),
                is_exception,
                body,
            } => {
                let outcome = if is_exception {
                    Outcome::Exception(Box::new(payload), body)
                } else {
                    match boxing::take_boxed(&mut Model::new(self), &payload, body) {
                        Ok(value) => Outcome::Value(value),
                        Err(stop) => match stop.into_error() {
                            Error::Protocol(_) if payload.cut => {
                                Outcome::Failed(Error::Limit(NO_MEMORY.to_owned()))
                            }
                            Error::Protocol(error) => return Err(malformed(&error)),
                            error => Outcome::Failed(error),
                        },
                    }
                };
                if let Some(notice) = slot.put(outcome) {
                    role.pass_on();
                    notice.give();
                }
            }
            Event::Orphan {
                is_exception, body, ..
            } => {
                if !is_exception {
                    self.release_refs(boxing::remote_refs(&payload, body));
                }
            }
        }
        Ok(Handled::Done)
    }

    fn perform(
        self: &Arc<Self>,
        payload: Payload<Bytes>,
        seq: Seq,
        body: usize,
        role: &mut impl Role,
    ) -> Result<Handled, EndCause> {
        if let Some((id, count)) = dispatch::peek_release(&payload, body) {
            let released = {
                let mut table = self.exports.lock();
                match table.release(id.encoded, count) {
                    Released::Unknown => table.release(id.canonical().as_bytes(), count),
                    other => other,
                }
            };
            if !matches!(released, Released::Unknown) {
                self.reply_to_release(&seq);
                role.pass_on();
                if matches!(released, Released::Gone(_)) {
                    role.before_user_code();
                }
                // The object is dropped now, with no lock held.
                drop(released);
                return Ok(Handled::Done);
            }
        }
        if self.skips(&payload) {
            return Ok(Handled::Done);
        }
        let request = dispatch::read_request(&mut Model::new(self), &payload, body);
        let introduces = matches!(&request, Ok(request) if matches!(request.handler, Ok(Handler::GetRoot)))
            && introduction::is_wanted(&payload, body);
        if introduces {
            self.note_kin();
        }
        let cut = payload.cut;
        drop(payload);
        let request = match request.map_err(Stop::into_error) {
            Ok(request) => request,
            Err(Error::Protocol(_)) if cut => {
                self.reply(&seq, Err(Exception::new("MemoryError", NO_MEMORY)));
                return Ok(Handled::Done);
            }
            Err(Error::Protocol(error)) => return Err(malformed(&error)),
            Err(error) => {
                self.reply(&seq, Err(error.into()));
                return Ok(Handled::Done);
            }
        };
        role.pass_on();
        role.before_user_code();
        let outcome = performing(self, &seq, || {
            guarded(
                || match dispatch::dispatch(&mut Model::new(self), request) {
                    Ok(root) if introduces => Ok(Ok(introduced(root))),
                    Ok(value) => Ok(Ok(value)),
                    Err(Stop::Later(future)) => Ok(Err(future)),
                    Err(Stop::Error(error)) => Err(Exception::from(*error)),
                },
            )
        });
        let outcome = match outcome {
            Ok(Err(future)) => return Ok(Handled::Later { seq, future }),
            Ok(Ok(value)) => Ok(value),
            Err(exception) => Err(exception),
        };
        if self.wire.end().is_none() {
            self.reply(&seq, outcome);
        }
        Ok(Handled::Done)
    }
}

/// What is wrong with a [cut](Payload::cut) message.
const NO_MEMORY: &str = "there is no memory for the message: a value in it is too large";

/// Runs code of the user: a panic becomes an exception.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Exception>) -> Result<T, Exception> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "of an unknown kind".to_owned());
        Err(Exception::new(
            "RuntimeError",
            format!("the method panicked: {text}"),
        ))
    })
}

fn malformed(error: &impl std::fmt::Display) -> EndCause {
    EndCause::Face(format!("the peer sent a malformed message: {error}"))
}
