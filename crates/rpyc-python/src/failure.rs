//! The errors of waits: what they say, and what programs can read off them.
//!
//! Each names the operation, the peer, and the cause or the time that it took.

use std::time::Duration;

use pyo3::exceptions::PyTimeoutError;
use pyo3::intern;
use pyo3::prelude::*;
use rpyc::link::{End, EndCause};
use rpyc_proto::consts::Handler;

use crate::engine::Engine;

/// The `ConnectionLost` of a link that ended. `operation`: what failed because of it.
pub(crate) fn lost(conn: &Bound<'_, Engine>, end: &End, operation: Option<&str>) -> PyErr {
    let py = conn.py();
    let make = || {
        let text = (end.to_string(), end.cause().word(), operation);
        conn.as_any()
            .call_method1(intern!(py, "_connection_lost"), text)
    };
    make().map_or_else(|error| error, PyErr::from_value)
}

/// The `ConnectionLost` of a connection that has no link, or whose link has not said why it ended.
pub(crate) fn lost_or_closed(conn: &Bound<'_, Engine>, operation: Option<&str>) -> PyErr {
    let end = conn.get().end();
    let end = end.unwrap_or_else(|| End::new(EndCause::Closed));
    lost(conn, &end, operation)
}

/// The error of a request that was not answered in time. `option`: what sets the limit.
pub(crate) fn expired(
    conn: &Bound<'_, PyAny>,
    operation: &str,
    elapsed: Duration,
    option: &str,
) -> PyErr {
    // To a tenth of a second, or as precise as short times need.
    let digits = if elapsed < Duration::from_secs(1) {
        3
    } else {
        1
    };
    let elapsed = elapsed.as_secs_f64();
    PyTimeoutError::new_err(format!(
        "result expired: no answer to {operation} from {} within {elapsed:.digits$} seconds ({option})",
        peer(conn),
    ))
}

/// The peer of a connection in words.
fn peer(conn: &Bound<'_, PyAny>) -> String {
    conn.getattr(intern!(conn.py(), "_peer"))
        .and_then(|peer| peer.extract())
        .unwrap_or_else(|_| "the peer".to_owned())
}

/// A request in words: the name of its handler, and of the attribute it is about, if there is one.
pub(crate) fn operation(handler: i64, attribute: Option<&Bound<'_, PyAny>>) -> String {
    let handler = Handler::from_wire(handler).map_or_else(
        || format!("handler {handler}"),
        |handler| format!("{handler:?}").to_uppercase(),
    );
    // An attribute's name is the program's own text, or the peer's method of an exposed class.
    match attribute.and_then(|name| name.extract::<String>().ok()) {
        Some(name) => format!("{handler} {name:?}"),
        None => handler,
    }
}
