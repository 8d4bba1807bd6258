//! One parameter of a method that peers reach.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, Pat, PatType, Type};

use crate::options::{Known, Options, check_name};
use crate::types::{is_connection, is_named, is_option, owned};

/// Where the value of a parameter comes from.
pub(super) struct Parameter {
    span: Span,
    source: Source,
}

enum Source {
    Connection,
    Rest,
    Argument {
        name: String,
        ty: Box<Type>,
        default: Option<Box<Expr>>,
    },
}

impl Parameter {
    /// Takes the options off a parameter and reads it.
    ///
    /// # Errors
    /// No argument can be converted to it.
    pub(super) fn take_options(parameter: &mut PatType) -> syn::Result<Self> {
        let known = [Known::Value("default"), Known::Text("name")];
        let options = Options::take(&mut parameter.attrs, &known)?;
        let ty = &*parameter.ty;
        let source = if is_connection(ty) {
            Source::Connection
        } else if is_named(ty, "Args") {
            Source::Rest
        } else {
            Source::Argument {
                name: name(&options, &parameter.pat)?,
                ty: Box::new(check_type(ty)?.clone()),
                default: options.value("default").cloned().map(Box::new),
            }
        };
        if !matches!(source, Source::Argument { .. }) {
            let given = ["default", "name"]
                .iter()
                .find_map(|name| options.span(name));
            if let Some(span) = given {
                let text = "this parameter is no argument of the caller";
                return Err(syn::Error::new(span, text));
            }
        }
        Ok(Self {
            span: parameter.span(),
            source,
        })
    }

    pub(super) const fn span(&self) -> Span {
        self.span
    }

    pub(super) const fn is_connection(&self) -> bool {
        matches!(self.source, Source::Connection)
    }

    pub(super) const fn is_rest(&self) -> bool {
        matches!(self.source, Source::Rest)
    }

    /// An argument that may be left out.
    pub(super) fn is_optional(&self) -> bool {
        match &self.source {
            Source::Argument { ty, default, .. } => default.is_some() || is_option(ty),
            _ => false,
        }
    }

    /// An argument that must be given.
    pub(super) fn is_required(&self) -> bool {
        matches!(self.source, Source::Argument { .. }) && !self.is_optional()
    }

    /// What takes the argument out of `parameters`, if it is one.
    pub(super) fn take(&self) -> Option<TokenStream> {
        let Source::Argument { name, ty, default } = &self.source else {
            return None;
        };
        let span = ty.span();
        // A literal text is no `String` yet.
        let converts = is_named(ty, "String") || matches!(**ty, Type::Reference(_));
        let ty = match &**ty {
            Type::Reference(reference) => owned(reference),
            other => quote!(#other),
        };
        let taken = |how: &str| {
            let how = Ident::new(how, span);
            quote_spanned!(span=> parameters.#how::<#ty>(#name)?)
        };
        Some(match (default, self.is_optional()) {
            (Some(default), _) => {
                let taken = taken("optional");
                let default = if converts {
                    quote!(::std::convert::Into::<#ty>::into(#default))
                } else {
                    quote!(#default)
                };
                quote!(match #taken {
                    ::std::option::Option::Some(value) => value,
                    ::std::option::Option::None => #default,
                })
            }
            (None, true) => {
                let taken = taken("optional");
                quote!(#taken.flatten())
            }
            (None, false) => taken("required"),
        })
    }

    /// The argument of the call; `bound` yields the variables in order.
    pub(super) fn pass<'a>(&self, bound: &mut impl Iterator<Item = &'a Ident>) -> TokenStream {
        match &self.source {
            Source::Connection => quote!(conn),
            Source::Rest => quote!(rest),
            Source::Argument { ty, .. } => {
                let variable = bound.next();
                match **ty {
                    Type::Reference(_) => quote!(&#variable),
                    _ => quote!(#variable),
                }
            }
        }
    }
}

fn name(options: &Options, pattern: &Pat) -> syn::Result<String> {
    if let Some(name) = options.text("name") {
        check_name(&name, false)?;
        return Ok(name.value());
    }
    match pattern {
        Pat::Ident(pattern) => Ok(pattern.ident.unraw().to_string()),
        other => Err(syn::Error::new_spanned(
            other,
            "a parameter needs a name that callers can use: write an identifier here, or \
             `#[rpyc(name = \"...\")]` before it",
        )),
    }
}

fn check_type(ty: &Type) -> syn::Result<&Type> {
    match ty {
        Type::Reference(reference) if reference.mutability.is_some() => {
            Err(syn::Error::new_spanned(
                ty,
                "an argument can't be borrowed mutably: it is the method's own, take it by value",
            ))
        }
        Type::ImplTrait(_) => Err(syn::Error::new_spanned(
            ty,
            "the type of an argument must be known: peers tell no types. `Value` takes any",
        )),
        other => Ok(other),
    }
}
