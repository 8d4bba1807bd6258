//! Expressions over remote objects: literals of Python, names, attributes, items and calls.
//!
//! ```text
//! root.accounts["lab"].pay_in(10, note='by card')
//! ```

mod lexer;
mod parser;

use std::collections::HashMap;

use rpyc::{Args, Connection, IntoArgs, Netref, Value};

use crate::failure::Failure;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression {
    /// A value that is written out.
    Literal(Value),
    /// `root`, or what was assigned.
    Name(String),
    /// A tuple; lists are sent as tuples, too.
    Tuple(Vec<Self>),
    /// `object.name`.
    Attribute(Box<Self>, String),
    /// `object[key]`.
    Item(Box<Self>, Box<Self>),
    /// `function(arguments)`.
    Call(Box<Self>, Vec<Self>, Vec<(String, Self)>),
}

/// A line of the shell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Statement {
    /// `name = expression`.
    Assign(String, Expression),
    /// An expression, whose value is shown.
    Show(Expression),
}

impl Expression {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        parser::expression(text).map_err(|reason| bad(text, &reason))
    }

    /// A literal, or the text itself if it is none.
    pub(crate) fn literal_or_text(text: &str) -> Value {
        match parser::expression(text).as_ref().map(Self::as_literal) {
            Ok(Some(value)) => value,
            _ => Value::Str(text.to_owned()),
        }
    }

    /// The value of an expression without names.
    fn as_literal(&self) -> Option<Value> {
        match self {
            Self::Literal(value) => Some(value.clone()),
            Self::Tuple(items) => {
                let items = items.iter().map(Self::as_literal);
                items.collect::<Option<_>>().map(Value::Tuple)
            }
            _ => None,
        }
    }

    /// Whether evaluating it only reads attributes, so that it can be done to complete a line.
    pub(crate) fn is_path(&self) -> bool {
        match self {
            Self::Name(_) => true,
            Self::Attribute(object, _) => object.is_path(),
            _ => false,
        }
    }
}

impl Statement {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        parser::statement(text).map_err(|reason| bad(text, &reason))
    }
}

fn bad(text: &str, reason: &str) -> Failure {
    Failure::Usage(format!("{text:?} is no expression: {reason}"))
}

/// Where names get their values from.
pub(crate) struct Scope<'a> {
    conn: &'a Connection,
    names: HashMap<String, Value>,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(conn: &'a Connection) -> Self {
        Self {
            conn,
            names: HashMap::new(),
        }
    }

    pub(crate) fn assign(&mut self, name: &str, value: Value) {
        self.names.insert(name.to_owned(), value);
    }

    /// The names that there are.
    pub(crate) fn names(&self) -> Vec<String> {
        let root = std::iter::once("root".to_owned());
        root.chain(self.names.keys().cloned()).collect()
    }

    pub(crate) fn evaluate(&self, expression: &Expression) -> Result<Value, Failure> {
        Ok(match expression {
            Expression::Literal(value) => value.clone(),
            Expression::Name(name) => self.name(name)?,
            Expression::Tuple(items) => Value::Tuple(self.all(items)?),
            Expression::Attribute(object, name) => self.object(object)?.attr(name)?,
            Expression::Item(object, key) => match (self.evaluate(object)?, self.evaluate(key)?) {
                (Value::Netref(object), key) => object.item(key)?,
                (Value::Tuple(items), Value::Int(index)) => item(items, index)?,
                (other, _) => {
                    return Err(Failure::Usage(format!("{} has no items", other.kind())));
                }
            },
            Expression::Call(function, args, keywords) => {
                let mut given = self.all(args)?.into_args();
                for (name, value) in keywords {
                    given = given.keyword(name.clone(), self.evaluate(value)?);
                }
                self.call(function, given)?
            }
        })
    }

    /// Calls what an expression names; a method in one request.
    pub(crate) fn call(&self, function: &Expression, args: Args) -> Result<Value, Failure> {
        Ok(match function {
            Expression::Attribute(object, name) => self.object(object)?.call_method(name, args)?,
            other => self.object(other)?.call(args)?,
        })
    }

    /// The remote object that an expression names.
    pub(crate) fn object(&self, expression: &Expression) -> Result<Netref, Failure> {
        match self.evaluate(expression)? {
            Value::Netref(netref) => Ok(netref),
            other => Err(Failure::Usage(format!(
                "{other:?} is a plain value, and no remote object"
            ))),
        }
    }

    fn all(&self, expressions: &[Expression]) -> Result<Vec<Value>, Failure> {
        expressions.iter().map(|each| self.evaluate(each)).collect()
    }

    fn name(&self, name: &str) -> Result<Value, Failure> {
        if let Some(value) = self.names.get(name) {
            return Ok(value.clone());
        }
        if name == "root" {
            return Ok(Value::Netref(self.conn.root()?));
        }
        Err(Failure::Usage(format!(
            "there is no {name:?} here: expressions begin with root"
        )))
    }
}

fn item(items: Vec<Value>, index: i64) -> Result<Value, Failure> {
    let place = if index < 0 {
        items
            .len()
            .checked_sub(usize::try_from(-index).unwrap_or(usize::MAX))
    } else {
        usize::try_from(index).ok()
    };
    let count = items.len();
    place
        .and_then(|place| items.into_iter().nth(place))
        .ok_or_else(|| Failure::Usage(format!("the tuple has {count} items, and no [{index}]")))
}
