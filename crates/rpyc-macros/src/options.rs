//! What stands in `#[rpyc(...)]`, and doc comments.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Ident, Lit, LitStr, Meta, Token};

/// An option that an item can have.
#[derive(Clone, Copy)]
pub(crate) enum Known {
    /// Stands alone: `exposed`.
    Flag(&'static str),
    /// Has a text: `name = "..."`.
    Text(&'static str),
    /// Has any expression: `default = 10`.
    Value(&'static str),
}

impl Known {
    const fn name(self) -> &'static str {
        match self {
            Self::Flag(name) | Self::Text(name) | Self::Value(name) => name,
        }
    }
}

/// The options of one item.
#[derive(Default)]
pub(crate) struct Options(Vec<Given>);

struct Given {
    name: Ident,
    value: Option<Expr>,
}

/// One option, as written: `name` or `name = value`.
impl syn::parse::Parse for Given {
    fn parse(input: syn::parse::ParseStream<'_>) -> syn::Result<Self> {
        let name = input.call(Ident::parse_any)?;
        let value = if input.parse::<Option<Token![=]>>()?.is_some() {
            Some(input.parse()?)
        } else {
            None
        };
        Ok(Self { name, value })
    }
}

impl Options {
    /// Removes the attributes `#[rpyc(...)]` and reads what they say.
    ///
    /// # Errors
    /// An option that is not `known`, is given twice, or lacks its value.
    pub(crate) fn take(attributes: &mut Vec<Attribute>, known: &[Known]) -> syn::Result<Self> {
        let mut options = Self::default();
        for attribute in attributes.extract_if(.., |attribute| attribute.path().is_ident("rpyc")) {
            let Meta::List(list) = &attribute.meta else {
                return Err(syn::Error::new_spanned(
                    &attribute,
                    format!("expected `#[rpyc(...)]` with {}", names(known)),
                ));
            };
            options.add(list.parse_args_with(Punctuated::parse_terminated)?, known)?;
        }
        Ok(options)
    }

    /// Reads the options of the macro itself: `#[rpyc::service(...)]`.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub(crate) fn of_macro(tokens: proc_macro2::TokenStream, known: &[Known]) -> syn::Result<Self> {
        let mut options = Self::default();
        let parser = Punctuated::parse_terminated;
        options.add(syn::parse::Parser::parse2(parser, tokens)?, known)?;
        Ok(options)
    }

    fn add(&mut self, given: Punctuated<Given, Token![,]>, known: &[Known]) -> syn::Result<()> {
        for given in given {
            let name = &given.name;
            let Some(kind) = known.iter().find(|known| name == known.name()) else {
                let text = if known.is_empty() {
                    format!("`{name}` has no place here")
                } else {
                    format!("`{name}` has no place here; known are {}", names(known))
                };
                return Err(syn::Error::new(name.span(), text));
            };
            if self.0.iter().any(|before| before.name == *name) {
                let text = format!("`{name}` is given twice");
                return Err(syn::Error::new(name.span(), text));
            }
            match (kind, &given.value) {
                (Known::Flag(_), Some(value)) => {
                    let text = format!("`{name}` takes no value");
                    return Err(syn::Error::new_spanned(value, text));
                }
                (Known::Text(_) | Known::Value(_), None) => {
                    let text = format!("`{name}` needs a value: `{name} = ...`");
                    return Err(syn::Error::new(name.span(), text));
                }
                (Known::Text(_), Some(value)) if text_of(value).is_none() => {
                    let text = format!("`{name}` is a text: `{name} = \"...\"`");
                    return Err(syn::Error::new_spanned(value, text));
                }
                _ => self.0.push(given),
            }
        }
        Ok(())
    }

    /// Where the option stands, if it is given.
    pub(crate) fn span(&self, name: &str) -> Option<Span> {
        self.find(name).map(|given| given.name.span())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The value of an option that is a text.
    pub(crate) fn text(&self, name: &str) -> Option<LitStr> {
        self.find(name)?.value.as_ref().and_then(text_of)
    }

    /// The value of an option.
    pub(crate) fn value(&self, name: &str) -> Option<&Expr> {
        self.find(name)?.value.as_ref()
    }

    fn find(&self, name: &str) -> Option<&Given> {
        self.0.iter().find(|given| given.name == name)
    }
}

/// The text of the doc comments, without the space that follows the slashes.
pub(crate) fn docs(attributes: &[Attribute]) -> Option<String> {
    let lines = attributes.iter().filter_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else {
            return None;
        };
        if !pair.path.is_ident("doc") {
            return None;
        }
        let text = text_of(&pair.value)?.value();
        Some(text.strip_prefix(' ').map(str::to_owned).unwrap_or(text))
    });
    let text = lines.collect::<Vec<_>>().join("\n").trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Checks that a text is a name in Python, or several with dots between them.
///
/// # Errors
/// It is none.
pub(crate) fn check_name(text: &LitStr, dotted: bool) -> syn::Result<()> {
    let value = text.value();
    let is_name = |part: &str| {
        let mut chars = part.chars();
        chars
            .next()
            .is_some_and(|first| first == '_' || first.is_alphabetic())
            && chars.all(|char| char == '_' || char.is_alphanumeric())
    };
    let good = if dotted {
        value.split('.').all(is_name)
    } else {
        is_name(&value)
    };
    if good {
        return Ok(());
    }
    let kind = if dotted { "dotted name" } else { "name" };
    Err(syn::Error::new(
        text.span(),
        format!("{value:?} is no {kind} in Python"),
    ))
}

fn names(known: &[Known]) -> String {
    let names = known.iter().map(|known| format!("`{}`", known.name()));
    names.collect::<Vec<_>>().join(", ")
}

fn text_of(value: &Expr) -> Option<LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Some(text.clone()),
        _ => None,
    }
}
