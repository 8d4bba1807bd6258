//! `rpyc eval`: Python, evaluated in a classic server.

use crate::arguments::Eval;
use crate::failure::Failure;
use crate::output;
use crate::shell::is_classic;

pub(crate) fn run(eval: &Eval, as_json: bool) -> Result<(), Failure> {
    let conn = eval.target.connect()?;
    if !is_classic(&conn)? {
        return Err(Failure::Unexpected(format!(
            "{} is no classic server: it evaluates nothing; try rpyc get or rpyc call",
            eval.target.address
        )));
    }
    let value = conn
        .root()?
        .call_method("eval", (eval.expression.as_str(),))?;
    output::value(&value, as_json)?;
    drop(value);
    conn.close();
    Ok(())
}
