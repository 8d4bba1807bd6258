//! A shell for any server: expressions over its root object.

use rpyc::{Connection, Value};

use super::completion::{beginning, split_path};
use super::{Session, Step};
use crate::expression::{Expression, Scope, Statement};
use crate::failure::Failure;
use crate::output;

pub(super) struct Plain<'a> {
    scope: Scope<'a>,
}

impl<'a> Plain<'a> {
    pub(super) fn new(conn: &'a Connection) -> Self {
        Self {
            scope: Scope::new(conn),
        }
    }
}

impl Session for Plain<'_> {
    fn line(&mut self, line: &str) -> Result<Step, Failure> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(Step::Done);
        }
        if matches!(line, "exit" | "quit" | "exit()" | "quit()") {
            return Ok(Step::Exit);
        }
        match Statement::parse(line)? {
            Statement::Assign(name, expression) => {
                let value = self.scope.evaluate(&expression)?;
                self.scope.assign(&name, value);
            }
            Statement::Show(expression) => match self.scope.evaluate(&expression)? {
                Value::None => {}
                Value::Str(text) => output::line(&format!("{:?}", Value::Str(text)))?,
                value => output::value(&value, false)?,
            },
        }
        Ok(Step::Done)
    }

    fn reset(&mut self) {}

    fn complete(&mut self, text: &str) -> Vec<String> {
        let (object, prefix) = split_path(text);
        let names = match object {
            None => self.scope.names(),
            Some(object) => match Expression::parse(object) {
                // A line that is being written must call nothing.
                Ok(path) if path.is_path() => self
                    .scope
                    .object(&path)
                    .and_then(|object| Ok(object.dir()?))
                    .unwrap_or_default(),
                _ => Vec::new(),
            },
        };
        let shown = |name: String| match name.strip_prefix("exposed_") {
            Some(name) => name.to_owned(),
            None => name,
        };
        beginning(names.into_iter().map(shown).collect(), prefix)
    }
}
