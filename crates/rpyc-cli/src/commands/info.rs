//! `rpyc info`: what a server is and offers.

use rpyc::{Connection, Netref, Value};
use serde_json::json;

use crate::arguments::Info;
use crate::failure::Failure;
use crate::output;
use crate::shell::is_classic;

pub(crate) fn run(info: &Info, as_json: bool) -> Result<(), Failure> {
    let conn = info.target.connect()?;
    let root = conn.root()?;
    let found = Found {
        class: root.class_name().to_owned(),
        name: text(&root, "get_service_name"),
        aliases: root
            .call_method("get_service_aliases", ())
            .and_then(|names| Ok(names.extract()?))
            .unwrap_or_default(),
        doc: root.doc().unwrap_or_default(),
        exposed: exposed(&root.dir()?),
        python: python(&conn, &root),
    };
    conn.close();
    let address = info.target.address.to_string();
    if as_json {
        return output::json(&json!({
            "address": address,
            "class": found.class,
            "name": found.name,
            "aliases": found.aliases,
            "doc": found.doc,
            "exposed": found.exposed,
            "python": found.python,
        }));
    }
    output::line(&format!("address: {address}"))?;
    output::line(&format!("class:   {}", found.class))?;
    if let Some(name) = &found.name {
        output::line(&format!("name:    {name}"))?;
    }
    if !found.aliases.is_empty() {
        output::line(&format!("aliases: {}", found.aliases.join(", ")))?;
    }
    if let Some(python) = &found.python {
        output::line(&format!("classic: Python {python}"))?;
    }
    if let Some(doc) = found
        .doc
        .as_deref()
        .map(str::trim)
        .filter(|doc| !doc.is_empty())
    {
        let first = doc.lines().next().unwrap_or_default();
        output::line(&format!("about:   {first}"))?;
    }
    output::line(&format!("exposed: {}", found.exposed.join(", ")))
}

struct Found {
    class: String,
    name: Option<String>,
    aliases: Vec<String>,
    doc: Option<String>,
    exposed: Vec<String>,
    /// The version of a classic server's Python.
    python: Option<String>,
}

/// What a method says, if the server has it.
fn text(root: &Netref, method: &str) -> Option<String> {
    match root.call_method(method, ()) {
        Ok(Value::Str(text)) => Some(text),
        _ => None,
    }
}

/// The names that a client would use, without the prefix that exposes them.
fn exposed(names: &[String]) -> Vec<String> {
    let mut exposed: Vec<_> = names
        .iter()
        .map(|name| name.strip_prefix("exposed_").unwrap_or(name))
        .filter(|name| !name.starts_with('_'))
        .map(str::to_owned)
        .collect();
    exposed.sort_unstable();
    exposed.dedup();
    exposed
}

fn python(conn: &Connection, root: &Netref) -> Option<String> {
    if !is_classic(conn).ok()? {
        return None;
    }
    let version = "__import__('platform').python_version()";
    match root.call_method("eval", (version,)) {
        Ok(Value::Str(version)) => Some(version),
        _ => None,
    }
}
