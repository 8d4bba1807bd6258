//! The configuration of a connection: a dictionary of its own, or for as long as nobody asks for that,
//! one that it shares with other connections.
//!
//! A server may have thousands of connections, and a dictionary of all settings is the largest thing
//! that each would have. So what is the same for all is kept once. Whoever looks at `_config` may change
//! it, and gets the connection's own; this package itself reads `_settings`.

use std::sync::Arc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyTuple};

use super::Engine;
use crate::access::Rules;
use crate::timeout::Timeout;

/// The configuration of a connection.
pub(super) struct Configuration {
    settings: Py<PyDict>,
    /// Present while the settings are shared.
    facts: Option<Facts>,
    /// What calls read, once one has; only while the settings are shared, and so don't change.
    read: Option<Read>,
}

/// The settings that calls read.
struct Read {
    timeout: Timeout,
    folds: bool,
    rules: Arc<Rules>,
}

impl Read {
    /// Reads them. `None`: one is no value for what it is, which is the error of who needs that one, or may
    /// be another one the next time.
    fn of(settings: &Bound<'_, PyDict>) -> Option<Self> {
        let stays = |value: Bound<'_, PyAny>| {
            value.is_none()
                || value.is_exact_instance_of::<PyBool>()
                || value.is_exact_instance_of::<PyInt>()
                || value.is_exact_instance_of::<PyFloat>()
        };
        for key in [
            "sync_request_timeout",
            "fold_method_calls",
            "allow_getattr",
            "allow_setattr",
            "allow_delattr",
            "allow_exposed_attrs",
            "allow_all_attrs",
            "allow_safe_attrs",
            "allow_public_attrs",
        ] {
            if !settings.get_item(key).ok()?.is_none_or(stays) {
                return None;
            }
        }
        Some(Self {
            timeout: timeout(settings).ok()?,
            folds: folds(settings).ok()?,
            rules: Arc::new(Rules::read(settings).ok()?),
        })
    }
}

fn timeout(settings: &Bound<'_, PyDict>) -> PyResult<Timeout> {
    let timeout = settings.get_item(intern!(settings.py(), "sync_request_timeout"))?;
    Timeout::from_object(timeout.as_ref())
}

fn folds(settings: &Bound<'_, PyDict>) -> PyResult<bool> {
    let folds = settings.get_item(intern!(settings.py(), "fold_method_calls"))?;
    folds.map_or(Ok(true), |folds| folds.is_truthy())
}

/// The settings that are always a connection's own.
struct Facts {
    names: Py<PyTuple>,
    values: Py<PyTuple>,
}

impl Configuration {
    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.settings)?;
        if let Some(facts) = &self.facts {
            visit.call(&facts.names)?;
            visit.call(&facts.values)?;
        }
        if let Some(read) = &self.read {
            read.rules.visit(visit)?;
        }
        Ok(())
    }
}

impl From<Py<PyDict>> for Configuration {
    /// A configuration that is a connection's own.
    fn from(settings: Py<PyDict>) -> Self {
        Self {
            settings,
            facts: None,
            read: None,
        }
    }
}

impl Engine {
    /// What is to be read in the configuration, except the connection's own facts.
    pub(crate) fn config<'py>(&self, py: Python<'py>) -> Bound<'py, PyDict> {
        self.config.lock().settings.bind(py).clone()
    }

    /// The configured limit of synchronous requests.
    pub(super) fn configured_timeout(&self, py: Python<'_>) -> PyResult<Timeout> {
        self.read(py, |read| read.timeout, timeout)
    }

    /// Whether a method of a proxy is called by its name.
    pub(crate) fn folds_method_calls(&self, py: Python<'_>) -> PyResult<bool> {
        self.read(py, |read| read.folds, folds)
    }

    /// The rules for attributes.
    pub(crate) fn rules(&self, py: Python<'_>) -> PyResult<Arc<Rules>> {
        let anew = |settings: &Bound<'_, PyDict>| Rules::read(settings).map(Arc::new);
        self.read(py, |read| Arc::clone(&read.rules), anew)
    }

    /// A setting that was read before, or else is read anew.
    fn read<'py, T>(
        &self,
        py: Python<'py>,
        known: impl Fn(&Read) -> T,
        anew: impl FnOnce(&Bound<'py, PyDict>) -> PyResult<T>,
    ) -> PyResult<T> {
        let (settings, is_shared) = {
            let config = self.config.lock();
            if let Some(read) = &config.read {
                return Ok(known(read));
            }
            (config.settings.bind(py).clone(), config.facts.is_some())
        };
        let Some(read) = is_shared.then(|| Read::of(&settings)).flatten() else {
            return anew(&settings);
        };
        let found = known(&read);
        let mut config = self.config.lock();
        if config.facts.is_some() && config.settings.is(&settings) {
            config.read = Some(read);
        }
        Ok(found)
    }

    fn replace_config(&self, config: Configuration) {
        let replaced = std::mem::replace(&mut *self.config.lock(), config);
        drop(replaced);
    }
}

/// Whether two dictionaries hold the very same objects in the same order. Runs no code of the user.
#[pyfunction]
pub(crate) fn same_items(one: &Bound<'_, PyDict>, other: &Bound<'_, PyDict>) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other.iter())
            .all(|((key, value), (other_key, other_value))| {
                key.is(&other_key) && value.is(&other_value)
            })
}

#[pymethods]
impl Engine {
    /// Takes settings that other connections have as well, and that nobody changes, and the names and
    /// values of those that this one has of its own.
    fn _share_config(&self, settings: Py<PyDict>, names: Py<PyTuple>, values: Py<PyTuple>) {
        self.replace_config(Configuration {
            settings,
            facts: Some(Facts { names, values }),
            read: None,
        });
    }

    /// What is to be read in the configuration, except the connection's own facts. It may be shared:
    /// never to be changed.
    #[getter]
    fn _settings<'py>(&self, py: Python<'py>) -> Bound<'py, PyDict> {
        self.config(py)
    }

    /// The configuration, which may be changed: from now on it is this connection's alone.
    #[getter(_config)]
    fn own_config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (settings, facts) = {
            let config = self.config.lock();
            let settings = config.settings.bind(py).clone();
            match &config.facts {
                None => return Ok(settings),
                Some(Facts { names, values }) => {
                    let facts = names.bind(py).iter().zip(values.bind(py).iter());
                    (settings, facts)
                }
            }
        };
        let own = PyDict::new(py);
        own.update(settings.as_mapping())?;
        for (name, fact) in facts {
            own.set_item(name, fact)?;
        }
        let mut config = self.config.lock();
        if config.facts.is_none() {
            // Another thread was quicker.
            return Ok(config.settings.bind(py).clone());
        }
        let replaced = std::mem::replace(&mut *config, own.clone().unbind().into());
        drop(config);
        drop(replaced);
        Ok(own)
    }

    #[setter(_config)]
    fn set_config(&self, settings: Py<PyDict>) {
        self.replace_config(settings.into());
    }
}
