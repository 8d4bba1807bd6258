//! `rpyc dir`: the attributes of a remote object.

use serde_json::json;

use crate::arguments::Dir;
use crate::expression::{Expression, Scope};
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(dir: &Dir, as_json: bool) -> Result<(), Failure> {
    let object = Expression::parse(&dir.object)?;
    let conn = dir.target.connect()?;
    let mut names = Scope::new(&conn).object(&object)?.dir()?;
    names.retain(|name| dir.all || !name.starts_with('_'));
    if as_json {
        output::json(&json!(names))?;
    } else {
        names.iter().try_for_each(|name| output::line(name))?;
    }
    conn.close();
    Ok(())
}
