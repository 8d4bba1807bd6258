//! Requests of the peer: performed and answered.

use pyo3::exceptions::{PyEOFError, PyKeyboardInterrupt, PyStopIteration, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use rpyc_proto::boxing;
use rpyc_proto::consts::{Handler, MessageKind};
use rpyc_proto::dispatch::{self, Request};
use rpyc_proto::exports::Released;
use rpyc_proto::message;
use rpyc_proto::vinegar::Vinegar;
use rpyc_proto::wire::{Payload, Writer};

use super::{PyDriver, is_malformed, told_of_memory};
use crate::batch;
use crate::brine;
use crate::bulk::PyBulk;
use crate::cancel::Performing;
use crate::classes;
use crate::engine::Engine;
use crate::introduction;
use crate::model::{PyModel, Raised};
use crate::nesting;
use crate::peek;

impl<'py> PyDriver<'_, 'py> {
    /// Performs a request of the peer, and answers it.
    pub(super) fn request(
        &self,
        payload: Payload<PyBulk>,
        seq: &[u8],
        body: usize,
    ) -> PyResult<()> {
        let py = self.py();
        if let Some((id, count)) = dispatch::peek_release(&payload, body) {
            let released = self.conn.get().release(&id, count);
            let known = !matches!(released, Released::Unknown);
            if known {
                self.push_none(seq)?;
                self.link.pass_on();
                if matches!(released, Released::Gone(_)) {
                    self.send_due()?;
                }
                // The object may run its finalizer now, with no lock held and the role passed on.
                drop(released);
                return Ok(());
            }
        }
        let mut model = PyModel::new(self.conn);
        let request = dispatch::read_request(&mut model, &payload, body);
        let request = told_of_memory(request, payload.cut);
        let incomplete = std::mem::take(&mut model.incomplete);
        let introduces =
            asks_for(&request, Handler::GetRoot) && introduction::is_wanted(&payload, body);
        if introduces {
            self.link.note_kin();
        }
        drop(payload);
        let request = match request {
            Err(Raised(error)) if is_malformed(py, &error) => return Err(self.give_up(error)),
            request => request,
        };
        if asks_for(&request, Handler::ReadAhead) {
            // It must be performed in the order of arrival, and runs no code of the user as long as
            // it does not pass the role on itself.
            let result = request
                .map_err(PyErr::from)
                .and_then(|request| self.perform(request));
            self.link.pass_on();
            return self.answer_ahead(seq, result);
        }
        self.conn.get().activity.note_arrival();
        self.link.pass_on();
        let is_batch = asks_for(&request, Handler::Batch);
        let result = request.map_err(PyErr::from).and_then(|request| {
            let _performing = Performing::begin(self.conn, message::number(seq));
            nesting::check(py, self.conn.get())?;
            classes::complete_all(self.conn, incomplete)?;
            self.perform(request)
        });
        self.conn.get().activity.note_arrival();
        if let (Ok(_), Some(end)) = (&result, self.link.end()) {
            // The request closed the connection: whoever serves it is told.
            return Err(PyEOFError::new_err(end.to_string()));
        }
        let pushed = result.and_then(|value| {
            self.push_reply(seq, |model, out| {
                if is_batch {
                    batch::put_outcomes(model, out, &value)
                } else if introduces {
                    introduction::put_root(model, out, &value)
                } else {
                    boxing::put_boxed(model, out, &value)
                }
            })
        });
        self.conclude(seq, pushed)
    }

    /// Answers a request for items of an iterator. If they can't travel together, the first one goes
    /// alone, since it is taken already.
    fn answer_ahead(&self, seq: &[u8], result: PyResult<Bound<'py, PyAny>>) -> PyResult<()> {
        let pushed = result.and_then(|value| {
            let together = self.push_reply(seq, |model, out| boxing::put_boxed(model, out, &value));
            if together.is_ok() {
                return Ok(());
            }
            let first = peek::alone(&value)?;
            self.push_reply(seq, |model, out| boxing::put_boxed(model, out, &first))
        });
        self.conclude(seq, pushed)
    }

    /// Answers a request that failed with its exception.
    fn conclude(&self, seq: &[u8], result: PyResult<()>) -> PyResult<()> {
        let Err(error) = result else {
            return Ok(());
        };
        if stays_local(self.conn, &error)? {
            return Err(error);
        }
        self.push_exception(seq, error)
    }

    fn perform(&self, request: Request<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        self.send_due()?;
        Ok(dispatch::dispatch(&mut PyModel::new(self.conn), request)?)
    }

    /// Before code of the user runs, which can take long: what is finished must not wait behind it.
    fn send_due(&self) -> PyResult<()> {
        if self.link.is_due() {
            self.link
                .flush(&mut PyDriver::new(self.conn, self.link), None)?;
        }
        Ok(())
    }

    /// Answers with None a request whose answer no call waits for.
    pub(super) fn push_none(&self, seq: &[u8]) -> PyResult<()> {
        let conn = self.conn.get();
        let mut out = conn.start(self.py(), MessageKind::Reply);
        message::put_head(&mut out, conn.dialect(), MessageKind::Reply, seq);
        dispatch::put_boxed_with(&mut out, Writer::put_none);
        conn.push_unhurried(self.link, out)
    }

    fn push_reply(
        &self,
        seq: &[u8],
        fill: impl FnOnce(&mut PyModel<'_, 'py>, &mut Writer<PyBulk>) -> Result<(), Raised>,
    ) -> PyResult<()> {
        let mut out = self.conn.get().start(self.py(), MessageKind::Reply);
        message::put_head(&mut out, self.conn.get().dialect(), MessageKind::Reply, seq);
        let body = out.mark();
        if let Err(error) = fill(&mut PyModel::new(self.conn), &mut out) {
            self.conn.get().take_back(&out.split_off(body));
            return Err(error.into());
        }
        self.conn.get().push(self.link, out)
    }

    fn push_exception(&self, seq: &[u8], error: PyErr) -> PyResult<()> {
        let py = self.py();
        let mut out = self.conn.get().start(py, MessageKind::Exception);
        message::put_head(
            &mut out,
            self.conn.get().dialect(),
            MessageKind::Exception,
            seq,
        );
        if error.get_type(py).is(py.get_type::<PyStopIteration>()) {
            Vinegar::StopIteration.write(&mut out);
        } else {
            let dumped = self.conn.get().dump_exception(self.conn, &error)?;
            brine::write_plain(&dumped, &mut out, 0)?;
        }
        self.conn.get().push(self.link, out)
    }
}

/// Whether a request that could be read asks for this handler.
fn asks_for<V, E>(request: &Result<Request<V>, E>, handler: Handler) -> bool {
    matches!(request, Ok(request) if matches!(request.handler, Ok(asked) if asked == handler))
}

/// Whether an exception is for this process, not for the peer.
pub(crate) fn stays_local(conn: &Bound<'_, Engine>, error: &PyErr) -> PyResult<bool> {
    let py = conn.py();
    let class = error.get_type(py);
    let key = if class.is(py.get_type::<PySystemExit>()) {
        intern!(py, "propagate_SystemExit_locally")
    } else if class.is(py.get_type::<PyKeyboardInterrupt>()) {
        intern!(py, "propagate_KeyboardInterrupt_locally")
    } else {
        return Ok(false);
    };
    conn.get()
        .config(py)
        .get_item(key)?
        .map_or(Ok(false), |value| value.is_truthy())
}
