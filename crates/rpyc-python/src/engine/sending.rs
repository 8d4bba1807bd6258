//! Messages that leave: started, completed and queued.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use rpyc_proto::consts::{Handler, MessageKind};
use rpyc_proto::dispatch;
use rpyc_proto::id::EncodedId;
use rpyc_proto::wire::frame::Frame;
use rpyc_proto::wire::{Reader, Writer};

use super::{Engine, PyLink};
use crate::ahead;
use crate::brine;
use crate::bulk::PyBulk;
use crate::waiter::Waiter;

impl Engine {
    /// Starts a frame with a message of this kind.
    pub(crate) fn start(&self, py: Python<'_>, kind: MessageKind) -> Writer<PyBulk> {
        let mut out = Writer::new_frame();
        if let Some(threads) = self.bound.get() {
            threads.put_prefix(py, &mut out, kind);
        }
        out
    }

    /// Queues a release of references that we hold.
    pub(crate) fn push_release(&self, py: Python<'_>, encoded: &[u8], count: i64) {
        self.push_unanswered(py, Handler::Del, |out| {
            dispatch::put_target(out, encoded, 1);
            dispatch::put_boxed_with(out, |out| out.put_int(count));
        });
    }

    /// Notes that a message is about to be queued which may change the peer's containers, see
    /// `ahead`.
    pub(crate) fn note_departure(&self, py: Python<'_>) {
        for (id, used) in self.activity.note_departure() {
            self.push_unanswered(py, Handler::ReadAhead, |out| {
                ahead::put_arguments(out, &id, used, 0);
            });
        }
    }

    /// Queues a request whose answer concerns nobody.
    fn push_unanswered(
        &self,
        py: Python<'_>,
        handler: Handler,
        put_arguments: impl FnOnce(&mut Writer<PyBulk>),
    ) {
        let Some(link) = self.link.get() else {
            return;
        };
        let mut out = self.start(py, MessageKind::Request);
        let seq = {
            let mut session = link.session().lock();
            let seq = session.take_seq();
            // Without room for one more request the answer is an orphan, which is fine.
            let _ = session.begin_numbered(seq, Waiter::Nobody);
            seq
        };
        let handler = i64::from(handler.number());
        dispatch::put_request(&mut out, self.dialect(), seq, handler);
        put_arguments(&mut out);
        // Errors concern nobody.
        let _ = self.push_unhurried(link, out);
    }

    /// A proxy died: the owner gets its references back. Errors concern nobody.
    pub(crate) fn release_proxy(&self, conn: &Bound<'_, Self>, id: &EncodedId, count: i64) {
        let Some(link) = self.link.get().filter(|link| link.end().is_none()) else {
            return;
        };
        if count <= 0 || !self.is_here() {
            // Another proxy took them over; or this is a copy in a forked child, and the
            // parent still holds the reference.
            return;
        }
        if self.is_native(conn) {
            self.push_release(conn.py(), id.as_bytes(), count);
            link.flush_unhurried();
            return;
        }
        let py = conn.py();
        let pack = brine::read_plain::<()>(py, &mut Reader::new(id.as_bytes()), 0);
        let _ = pack.and_then(|pack| {
            conn.as_any()
                .call_method1(intern!(py, "_release_proxy"), (pack, count))
        });
    }

    /// Completes a frame and queues it.
    pub(crate) fn push(&self, link: &PyLink, mut out: Writer<PyBulk>) -> PyResult<()> {
        let frame = seal(&mut out)?;
        match self.compress.get() {
            Some(threshold) if frame.len() > threshold + 6 => {
                let frame = frame.take();
                // It can take long, and other threads are not to wait for it.
                let mut frame = Python::attach(|py| py.detach(|| compressed(frame)));
                link.push(&mut frame);
            }
            _ => {
                link.push(frame);
            }
        }
        Ok(())
    }

    /// The same for a small one that no call waits for.
    pub(crate) fn push_unhurried(&self, link: &PyLink, mut out: Writer<PyBulk>) -> PyResult<()> {
        let frame = seal(&mut out)?;
        if self.bound.get().is_some() {
            // The threads at both ends are occupied until it is answered.
            link.push(frame);
        } else {
            link.push_unhurried(frame);
        }
        Ok(())
    }
}

fn seal(out: &mut Writer<PyBulk>) -> PyResult<&mut Frame<PyBulk>> {
    out.seal()
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Compresses a frame where that pays.
fn compressed(frame: Frame<PyBulk>) -> Frame<PyBulk> {
    if frame.compressible() {
        frame.compressed()
    } else {
        frame
    }
}
