//! Tokens to expressions, by recursive descent.

use num_bigint::BigInt;
use rpyc::{Slice, Value};

use super::lexer::{Token, tokens};
use super::{Expression, Statement};

/// How deep expressions may be nested.
const MAX_DEPTH: usize = 100;

pub(super) fn expression(text: &str) -> Result<Expression, String> {
    let mut parser = Parser::new(text)?;
    let expression = parser.tuple()?;
    parser.finish()?;
    Ok(expression)
}

pub(super) fn statement(text: &str) -> Result<Statement, String> {
    let mut parser = Parser::new(text)?;
    if let [Token::Name(name), Token::Sign('='), ..] = parser.tokens.as_slice() {
        let name = name.clone();
        parser.at = 2;
        let expression = parser.tuple()?;
        parser.finish()?;
        return Ok(Statement::Assign(name, expression));
    }
    let expression = parser.tuple()?;
    parser.finish()?;
    Ok(Statement::Show(expression))
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn new(text: &str) -> Result<Self, String> {
        Ok(Self {
            tokens: tokens(text)?,
            at: 0,
            depth: 0,
        })
    }

    fn finish(&self) -> Result<(), String> {
        match self.tokens.get(self.at) {
            None => Ok(()),
            Some(token) => Err(format!("{} was not expected", show(token))),
        }
    }

    /// An expression, or several with commas.
    fn tuple(&mut self) -> Result<Expression, String> {
        let first = self.one()?;
        if !self.is_next(',') {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take(',') {
            if self.at == self.tokens.len() || self.is_next(')') {
                break;
            }
            items.push(self.one()?);
        }
        Ok(Expression::Tuple(items))
    }

    fn one(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        let mut expression = self.atom()?;
        loop {
            if self.take('.') {
                let Some(Token::Name(name)) = self.next() else {
                    return Err("a name is expected after the dot".to_owned());
                };
                expression = Expression::Attribute(Box::new(expression), name);
            } else if self.take('[') {
                let key = self.key()?;
                expression = Expression::Item(Box::new(expression), Box::new(key));
            } else if self.take('(') {
                let (args, keywords) = self.arguments()?;
                expression = Expression::Call(Box::new(expression), args, keywords);
            } else {
                self.depth -= 1;
                return Ok(expression);
            }
        }
    }

    fn atom(&mut self) -> Result<Expression, String> {
        match self.next() {
            Some(Token::Value(value)) => Ok(Expression::Literal(value)),
            Some(Token::Name(name)) => Ok(Expression::Name(name)),
            Some(Token::Sign('-')) => match self.next() {
                Some(Token::Value(value)) => negative(value).map(Expression::Literal),
                _ => Err("a number is expected after the minus sign".to_owned()),
            },
            Some(Token::Sign('(')) if self.take(')') => Ok(Expression::Tuple(Vec::new())),
            Some(Token::Sign('(')) => {
                let inner = self.tuple()?;
                self.expect(')')?;
                Ok(inner)
            }
            Some(Token::Sign('[')) => {
                let mut items = Vec::new();
                while !self.take(']') {
                    items.push(self.one()?);
                    if !self.take(',') && !self.is_next(']') {
                        return Err("a comma or ']' is expected".to_owned());
                    }
                }
                Ok(Expression::Tuple(items))
            }
            Some(token) => Err(format!("{} was not expected", show(&token))),
            None => Err("it is not complete".to_owned()),
        }
    }

    /// What is between brackets, the closing one included: an expression, or a slice of ints.
    fn key(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.slice_part()?];
        while self.take(':') {
            parts.push(self.slice_part()?);
        }
        self.expect(']')?;
        if parts.len() == 1 {
            return parts
                .remove(0)
                .ok_or_else(|| "an index is expected".to_owned());
        }
        let mut values = parts.into_iter().map(|part| match part {
            None => Ok(Value::None),
            Some(Expression::Literal(value)) => Ok(value),
            Some(_) => Err("the parts of a slice are literals".to_owned()),
        });
        let mut part = || values.next().unwrap_or(Ok(Value::None));
        let slice = Slice {
            start: part()?,
            stop: part()?,
            step: part()?,
        };
        Ok(Expression::Literal(Value::Slice(Box::new(slice))))
    }

    fn slice_part(&mut self) -> Result<Option<Expression>, String> {
        if self.is_next(':') || self.is_next(']') {
            return Ok(None);
        }
        self.tuple().map(Some)
    }

    #[expect(clippy::type_complexity, reason = "both kinds of arguments")]
    fn arguments(&mut self) -> Result<(Vec<Expression>, Vec<(String, Expression)>), String> {
        let (mut args, mut keywords) = (Vec::new(), Vec::new());
        while !self.take(')') {
            if let [Token::Name(name), Token::Sign('='), ..] = &self.tokens[self.at..] {
                let name = name.clone();
                self.at += 2;
                keywords.push((name, self.one()?));
            } else if keywords.is_empty() {
                args.push(self.one()?);
            } else {
                return Err("positional arguments come before keyword arguments".to_owned());
            }
            if !self.take(',') && !self.is_next(')') {
                return Err("a comma or ')' is expected".to_owned());
            }
        }
        Ok((args, keywords))
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn is_next(&self, sign: char) -> bool {
        self.tokens.get(self.at) == Some(&Token::Sign(sign))
    }

    fn take(&mut self, sign: char) -> bool {
        let found = self.is_next(sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: char) -> Result<(), String> {
        if self.take(sign) {
            return Ok(());
        }
        Err(format!("{sign:?} is missing"))
    }
}

fn negative(value: Value) -> Result<Value, String> {
    match value {
        Value::Int(value) => Ok(Value::Int(-value)),
        Value::Float(value) => Ok(Value::Float(-value)),
        Value::BigInt(value) => {
            let value: BigInt = -value;
            Ok(i64::try_from(&value).map_or(Value::BigInt(value), Value::Int))
        }
        other => Err(format!("there is no negative {}", other.kind())),
    }
}

fn show(token: &Token) -> String {
    match token {
        Token::Name(name) => format!("{name:?}"),
        Token::Value(value) => format!("{value:?}"),
        Token::Sign(sign) => format!("{sign:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Value {
        match expression(text) {
            Ok(Expression::Literal(value)) => value,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn literals_are_read_as_in_python() {
        for (text, shown) in [
            ("1", "1"),
            ("-7", "-7"),
            ("1_000", "1000"),
            ("0xff", "255"),
            ("-9223372036854775808", "-9223372036854775808"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
            ("1.5", "1.5"),
            (".5", "0.5"),
            ("1e3", "1000.0"),
            ("1.5e-3", "0.0015"),
            ("None", "None"),
            ("True", "True"),
            ("'it'", "'it'"),
            (r#""a\tb\x41\u00e9""#, r"'a\tbAé'"),
            (r"b'\x00\xff'", r#"b"\x00\xff""#),
        ] {
            assert_eq!(format!("{:?}", literal(text)), shown, "{text}");
        }
    }

    #[test]
    fn paths_items_and_calls_are_read() {
        let read = expression("root.a[0].f(1, 'x', k=(1, 2))[1:2]").unwrap();
        let Expression::Item(call, slice) = read else {
            panic!("{read:?}")
        };
        assert_eq!(
            *slice,
            Expression::Literal(Value::Slice(Box::new(Slice {
                start: Value::Int(1),
                stop: Value::Int(2),
                step: Value::None,
            })))
        );
        let Expression::Call(function, args, keywords) = *call else {
            panic!("{call:?}")
        };
        assert!(matches!(*function, Expression::Attribute(_, name) if name == "f"));
        assert_eq!((args.len(), keywords.len()), (2, 1));
    }

    #[test]
    fn what_makes_no_sense_says_why() {
        for (text, why) in [
            ("", "not complete"),
            ("root.", "name is expected"),
            ("root..a", "name is expected"),
            ("f(1", "comma or ')'"),
            ("(1", "')' is missing"),
            ("'abc", "quote is not closed"),
            ("a b", "was not expected"),
            ("f(k=1, 2)", "before keyword"),
            ("1 $ 2", "no meaning"),
            ("12abc", "no number"),
            (&"(".repeat(1000), "nested too deeply"),
        ] {
            let reason = expression(text).unwrap_err();
            assert!(reason.contains(why), "{text}: {reason}");
        }
    }

    #[test]
    fn a_name_can_be_assigned() {
        let read = statement("x = root.make(1)").unwrap();
        assert!(matches!(read, Statement::Assign(name, Expression::Call(..)) if name == "x"));
        assert!(matches!(statement("x"), Ok(Statement::Show(_))));
    }
}
