//! What the peer can do beyond RPyC's protocol.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use rpyc_proto::features::Feature;

use std::sync::atomic::Ordering;

use super::Engine;

impl Engine {
    /// Whether the peer knows an extension. Asks it, if nobody has yet: then it waits like any
    /// request.
    pub(crate) fn peer_has(slf: &Bound<'_, Self>, feature: Feature) -> PyResult<bool> {
        if slf.get().peer_features.get().is_none() {
            slf.as_any()
                .call_method0(intern!(slf.py(), "_learn_features"))?;
        }
        let known = slf.get().peer_features.get();
        Ok(known.is_some_and(|features| features.contains(feature)))
    }
}

#[pymethods]
impl Engine {
    /// The names of the extensions that this side offers.
    #[getter]
    fn _features<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, Feature::ALL.iter().map(|feature| feature.name()))
    }

    /// Whether the peer knows an extension. Asks it, if nobody has yet.
    fn _peer_has(slf: &Bound<'_, Self>, feature: &str) -> PyResult<bool> {
        let known = Feature::from_name(feature);
        let known =
            known.ok_or_else(|| PyValueError::new_err(format!("no extension {feature}")))?;
        Self::peer_has(slf, known)
    }

    /// Whether the peer was asked for its extensions, and has answered.
    #[getter]
    fn _knows_features(&self) -> bool {
        self.peer_features.get().is_some()
    }

    /// Notes that the peer does not wait for the answer to a request any more.
    fn _note_cancelled(&self, seq: u64) {
        self.cancelled.note(seq);
    }

    /// Notes what the peer answered when it was told of a request that nobody waits for.
    #[pyo3(signature = (is_exc, _obj))]
    fn _note_cancel_answer(&self, is_exc: bool, _obj: &Bound<'_, PyAny>) {
        self.refuses_cancel.store(is_exc, Ordering::Relaxed);
    }

    /// Keeps the extensions of the peer; names that mean nothing here are ignored. The first answer
    /// holds.
    fn _keep_features(&self, names: Vec<String>) {
        let features = names.iter().filter_map(|name| Feature::from_name(name));
        let _ = self.peer_features.set(features.collect());
    }
}
