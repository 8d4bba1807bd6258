//! `rpyc get`: the value of an expression.

use crate::arguments::Get;
use crate::expression::{Expression, Scope};
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(get: &Get, as_json: bool) -> Result<(), Failure> {
    let expression = Expression::parse(&get.expression)?;
    let conn = get.target.connect()?;
    let value = Scope::new(&conn).evaluate(&expression)?;
    output::value(&value, as_json)?;
    drop(value);
    conn.close();
    Ok(())
}
