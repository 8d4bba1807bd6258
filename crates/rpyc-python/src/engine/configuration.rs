//! The configuration of a connection: a dictionary of its own, or for as long as nobody asks for that,
//! one that it shares with other connections.
//!
//! A server may have thousands of connections, and a dictionary of all settings is the largest thing
//! that each would have. So what is the same for all is kept once. Whoever looks at `_config` may change
//! it, and gets the connection's own; this package itself reads `_settings`.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::Engine;

/// The configuration of a connection.
pub(super) struct Configuration {
    settings: Py<PyDict>,
    /// Present while the settings are shared.
    facts: Option<Facts>,
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
        Ok(())
    }
}

impl From<Py<PyDict>> for Configuration {
    /// A configuration that is a connection's own.
    fn from(settings: Py<PyDict>) -> Self {
        Self {
            settings,
            facts: None,
        }
    }
}

impl Engine {
    /// What is to be read in the configuration, except the connection's own facts.
    pub(crate) fn config<'py>(&self, py: Python<'py>) -> Bound<'py, PyDict> {
        self.config.lock().settings.bind(py).clone()
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
