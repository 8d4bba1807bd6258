//! Answers to the requests of this side.

use pyo3::intern;
use pyo3::prelude::*;
use rpyc_proto::boxing;
use rpyc_proto::wire::Payload;

use super::{PyDriver, is_malformed, told_of_memory};
use crate::brine;
use crate::bulk::PyBulk;
use crate::classes;
use crate::engine::Engine;
use crate::model::{PyModel, Raised};
use crate::waiter::{Outcome, Waiter};

impl PyDriver<'_, '_> {
    /// Gives an answer to whoever waits for it.
    pub(super) fn answer(
        &self,
        waiter: Waiter,
        is_exception: bool,
        payload: Payload<PyBulk>,
        body: usize,
    ) -> PyResult<()> {
        if !waiter.is_quiet() {
            self.conn.get().activity.note_arrival();
        }
        let slot = match waiter {
            Waiter::Nobody => return Ok(()),
            Waiter::Thread(slot) | Waiter::Quiet(slot) => slot,
            Waiter::Result(result) => {
                let result = result.into_bound(self.py());
                return self.complete_with(is_exception, &payload, body, |is_exception, object| {
                    result.get().complete(&result, is_exception, object)
                });
            }
            Waiter::Callback(callback) | Waiter::Own(callback) => {
                let callback = callback.into_bound(self.py());
                return self.complete_with(is_exception, &payload, body, |is_exception, object| {
                    callback.call1((is_exception, object)).map(drop)
                });
            }
        };
        self.conn.get().answers.note(slot.is_callers());
        if is_exception {
            slot.put(Outcome::Exception(payload, body));
            return Ok(());
        }
        let mut model = PyModel::new(self.conn);
        match told_of_memory(boxing::take_boxed(&mut model, &payload, body), payload.cut) {
            Ok(value) => slot.put(Outcome::Value(value.unbind(), model.incomplete)),
            Err(Raised(error)) if is_malformed(self.py(), &error) => {
                return Err(self.give_up(error));
            }
            Err(Raised(error)) => slot.put(Outcome::Unreadable(error)),
        }
        Ok(())
    }

    /// Reads an answer for whoever asked for it asynchronously. The read role is passed on before
    /// any code of the user runs.
    fn complete_with(
        &self,
        is_exception: bool,
        payload: &Payload<PyBulk>,
        body: usize,
        complete: impl FnOnce(bool, Py<PyAny>) -> PyResult<()>,
    ) -> PyResult<()> {
        let py = self.py();
        if is_exception {
            self.link.pass_on();
            let error = load_exception(self.conn, payload, body).unwrap_or_else(|error| error);
            return complete(true, error.into_value(py).into_any());
        }
        let mut model = PyModel::new(self.conn);
        let value = boxing::take_boxed(&mut model, payload, body);
        let incomplete = model.incomplete;
        let value = match told_of_memory(value, payload.cut) {
            Err(Raised(error)) if is_malformed(py, &error) => return Err(self.give_up(error)),
            value => value,
        };
        self.link.pass_on();
        let value = value.map_err(PyErr::from).and_then(|value| {
            classes::complete_all(self.conn, incomplete)?;
            Ok(value)
        });
        match value {
            Ok(value) => complete(false, value.unbind()),
            Err(error) => complete(true, error.into_value(py).into_any()),
        }
    }

    /// An answer that nobody waits for any more. What it refers to is released undecoded.
    pub(super) fn orphan(
        &self,
        number: Option<u64>,
        is_exception: bool,
        payload: &Payload<PyBulk>,
        body: usize,
    ) -> PyResult<()> {
        self.conn.get().activity.note_arrival();
        if !is_exception {
            for id in boxing::remote_refs(payload, body) {
                self.conn.get().push_release(self.py(), id.encoded, 1);
            }
        }
        self.link.pass_on();
        self.conn.get().log_debug(
            self.py(),
            &format!("dropped an answer to request {number:?}: nobody waits for it"),
        )
    }
}

/// Makes the exception that a message holds.
pub(crate) fn load_exception(
    conn: &Bound<'_, Engine>,
    payload: &Payload<PyBulk>,
    body: usize,
) -> PyResult<PyErr> {
    let py = conn.py();
    let mut reader = payload.reader_at(body);
    let raw = brine::read_plain(py, &mut reader, 0)?;
    let loaded = conn
        .as_any()
        .call_method1(intern!(py, "_unbox_exc"), (raw,))?;
    Ok(PyErr::from_value(loaded))
}
