//! Characters to tokens.

use std::iter::Peekable;
use std::str::Chars;

use num_bigint::BigInt;
use rpyc::Value;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Value(Value),
    Sign(char),
}

/// All tokens of a text.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut chars = text.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(&next) = chars.peek() {
        if next.is_whitespace() {
            chars.next();
        } else if next.is_ascii_digit() {
            tokens.push(Token::Value(number(&mut chars)?));
        } else if next == '"' || next == '\'' {
            chars.next();
            tokens.push(Token::Value(Value::Str(quoted(&mut chars, next)?)));
        } else if next == '_' || next.is_alphabetic() {
            tokens.push(word(&mut chars)?);
        } else if next == '.' {
            chars.next();
            // ".5" is a number; after an object it is an attribute, which doesn't begin with a digit.
            if chars.peek().is_some_and(char::is_ascii_digit) {
                tokens.push(Token::Value(fraction(&mut chars, "0")?));
            } else {
                tokens.push(Token::Sign('.'));
            }
        } else if "()[],=-+:".contains(next) {
            chars.next();
            tokens.push(Token::Sign(next));
        } else {
            return Err(format!("{next:?} has no meaning here"));
        }
    }
    Ok(tokens)
}

fn word(chars: &mut Peekable<Chars<'_>>) -> Result<Token, String> {
    let name = take_while(chars, |char| char == '_' || char.is_alphanumeric());
    if (name == "b" || name == "B")
        && let Some(quote) = chars.next_if(|char| matches!(char, '"' | '\''))
    {
        let text = quoted(chars, quote)?;
        let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
        let bytes = bytes.map_err(|_| "bytes are written with ASCII and \\x escapes".to_owned())?;
        return Ok(Token::Value(Value::Bytes(bytes.into())));
    }
    Ok(match name.as_str() {
        "None" => Token::Value(Value::None),
        "True" => Token::Value(Value::Bool(true)),
        "False" => Token::Value(Value::Bool(false)),
        _ => Token::Name(name),
    })
}

fn number(chars: &mut Peekable<Chars<'_>>) -> Result<Value, String> {
    let whole = take_while(chars, |char| char == '_' || char.is_ascii_alphanumeric());
    let digits = whole.replace('_', "");
    let radix = match digits.get(..2) {
        Some("0x" | "0X") => Some(16),
        Some("0o" | "0O") => Some(8),
        Some("0b" | "0B") => Some(2),
        _ => None,
    };
    if let Some(radix) = radix {
        let value = BigInt::parse_bytes(&digits.as_bytes()[2..], radix);
        return value
            .map(int)
            .ok_or_else(|| format!("{whole:?} is no number"));
    }
    if chars.next_if_eq(&'.').is_some() || digits.contains(['e', 'E']) {
        return fraction(chars, &digits);
    }
    let value = digits.parse::<BigInt>();
    value
        .map(int)
        .map_err(|_| format!("{whole:?} is no number"))
}

/// The rest of a float: what follows the point, or the sign of its exponent.
fn fraction(chars: &mut Peekable<Chars<'_>>, whole: &str) -> Result<Value, String> {
    let mut text = whole.to_owned();
    if !whole.contains(['e', 'E']) {
        text.push('.');
        text += &take_while(chars, |char| char.is_ascii_alphanumeric());
    }
    if text.ends_with(['e', 'E'])
        && let Some(sign) = chars.next_if(|char| matches!(char, '+' | '-'))
    {
        text.push(sign);
        text += &take_while(chars, |char| char.is_ascii_digit());
    }
    let value = text.parse().map(Value::Float);
    value.map_err(|_| format!("{text:?} is no number"))
}

fn int(value: BigInt) -> Value {
    i64::try_from(&value).map_or(Value::BigInt(value), Value::Int)
}

/// A text up to its closing quote.
fn quoted(chars: &mut Peekable<Chars<'_>>, quote: char) -> Result<String, String> {
    let mut text = String::new();
    loop {
        let next = chars.next().ok_or("a quote is not closed")?;
        if next == quote {
            return Ok(text);
        }
        if next != '\\' {
            text.push(next);
            continue;
        }
        let escaped = chars.next().ok_or("a quote is not closed")?;
        text.push(match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            '0' => '\0',
            'x' => code(chars, 2)?,
            'u' => code(chars, 4)?,
            'U' => code(chars, 8)?,
            other => other,
        });
    }
}

fn code(chars: &mut Peekable<Chars<'_>>, digits: usize) -> Result<char, String> {
    let text: String = chars.by_ref().take(digits).collect();
    let code = u32::from_str_radix(&text, 16).ok().and_then(char::from_u32);
    code.ok_or_else(|| format!("{text:?} is no character code of {digits} digits"))
}

fn take_while(chars: &mut Peekable<Chars<'_>>, wanted: impl Fn(char) -> bool) -> String {
    std::iter::from_fn(|| chars.next_if(|&char| wanted(char))).collect()
}
