//! `rpyc call`: call a remote function.

use rpyc::{Args, IntoArgs, Value};

use crate::arguments::Call;
use crate::expression::{Expression, Scope};
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(call: &Call, as_json: bool) -> Result<(), Failure> {
    let function = Expression::parse(&call.function)?;
    let mut args = positional(&call.args, call.text);
    for keyword in &call.keywords {
        let (name, text) = keyword.split_once('=').ok_or_else(|| {
            Failure::Usage(format!(
                "{keyword:?} is no keyword argument: expected NAME=VALUE"
            ))
        })?;
        args = args.keyword(name, argument(text, call.text));
    }
    let conn = call.target.connect()?;
    let answer = Scope::new(&conn).call(&function, args)?;
    output::value(&answer, as_json)?;
    drop(answer);
    conn.close();
    Ok(())
}

/// The arguments of a call, from the command line.
pub(super) fn positional(texts: &[String], as_text: bool) -> Args {
    let values = texts.iter().map(|text| argument(text, as_text));
    values.collect::<Vec<_>>().into_args()
}

fn argument(text: &str, as_text: bool) -> Value {
    if as_text {
        return Value::Str(text.to_owned());
    }
    Expression::literal_or_text(text)
}
