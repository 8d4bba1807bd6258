//! `#[rpyc::proxy]`: a trait to the client that implements it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    FnArg, ItemTrait, Pat, ReceiverKind, ReturnType, Signature, TraitItem, TraitItemFn, Type,
};

use crate::conditions::{self, Reading};
use crate::options::{Known, Options, check_name};
use crate::types::{is_named, is_option};

/// What a method asks the peer for.
enum Request {
    Call(String),
    Read(String),
    Write(String),
}

/// How a parameter travels.
enum Parameter {
    Positional(Ident, Type),
    Keyword(Ident, Type),
    Rest(Ident),
}

/// The trait without its options, and the proxy.
///
/// # Errors
/// What can't be asked of a peer, where it stands.
pub(crate) fn expand(options: TokenStream, mut item: ItemTrait) -> syn::Result<TokenStream> {
    Options::of_macro(options, &[])?;
    if let Some(parameter) = item.generics.params.first() {
        let text = "a proxy can't be generic: peers tell no types";
        return Err(syn::Error::new_spanned(parameter, text));
    }
    let mut methods = Vec::new();
    for item in &mut item.items {
        let TraitItem::Fn(function) = item else {
            let text = "a proxy has methods only";
            return Err(syn::Error::new_spanned(item, text));
        };
        methods.extend(method(function)?);
    }
    let proxy = proxy(&item, &methods);
    Ok(quote! {
        #item

        #proxy
    })
}

fn proxy(item: &ItemTrait, methods: &[TokenStream]) -> TokenStream {
    let visibility = &item.vis;
    let name = &item.ident;
    let proxy = format_ident!("{name}Proxy");
    let doc = format!(" A remote [`{name}`].");
    quote! {
        #[doc = #doc]
        #[derive(Debug, Clone, PartialEq)]
        #visibility struct #proxy(::rpyc::Netref);

        #[automatically_derived]
        impl #name for #proxy {
            #(#methods)*
        }

        #[automatically_derived]
        impl ::std::convert::From<::rpyc::Netref> for #proxy {
            fn from(netref: ::rpyc::Netref) -> Self {
                Self(netref)
            }
        }

        #[automatically_derived]
        impl ::std::convert::From<#proxy> for ::rpyc::Netref {
            fn from(proxy: #proxy) -> Self {
                proxy.0
            }
        }

        #[automatically_derived]
        impl ::std::convert::AsRef<::rpyc::Netref> for #proxy {
            fn as_ref(&self) -> &::rpyc::Netref {
                &self.0
            }
        }

        #[automatically_derived]
        impl ::rpyc::FromValue for #proxy {
            fn from_value(
                value: ::rpyc::Value,
            ) -> ::std::result::Result<Self, ::rpyc::ConversionError> {
                ::rpyc::FromValue::from_value(value).map(Self)
            }
        }

        #[automatically_derived]
        impl ::rpyc::IntoValue for #proxy {
            fn into_value(self) -> ::rpyc::Value {
                ::rpyc::Value::Netref(self.0)
            }
        }
    }
}

/// The implementations of a method, one for each way to read its `cfg_attr`s; none if the trait has one.
fn method(function: &mut TraitItemFn) -> syn::Result<Vec<TokenStream>> {
    let readings = conditions::readings(&function.attrs)?;
    conditions::remove_options(&mut function.attrs)?;
    let original = function.sig.clone();
    let has_body = function.default.is_some();
    let mut methods = Vec::new();
    for reading in readings {
        function.sig = original.clone();
        methods.extend(implementation(reading, &mut function.sig, has_body)?);
    }
    Ok(methods)
}

/// Leaves the signature as the trait is to have it.
fn implementation(
    reading: Reading,
    signature: &mut Signature,
    has_body: bool,
) -> syn::Result<Option<TokenStream>> {
    let Reading {
        conditions,
        mut attributes,
    } = reading;
    let options = Options::take(
        &mut attributes,
        &[
            Known::Flag("property"),
            Known::Flag("setter"),
            Known::Text("name"),
        ],
    )?;
    let parameters = parameters(signature)?;
    if has_body {
        return Ok(None);
    }
    conditions::refuse_on_parameters(signature)?;
    check_signature(signature)?;
    let request = request(&options, signature, &parameters)?;
    let is_async = signature.asyncness.is_some();
    let sent = send(&request, &parameters, is_async, signature.output.span());
    let signature = plain_signature(signature);
    Ok(Some(quote! {
        #conditions
        #signature {
            #sent
        }
    }))
}

/// An `async fn` of a public trait says nothing of `Send`; the future does.
fn plain_signature(signature: &mut Signature) -> Signature {
    if signature.asyncness.take().is_some()
        && let ReturnType::Type(_, output) = &signature.output
    {
        let span = output.span();
        signature.output = syn::parse_quote_spanned! {span=>
            -> impl ::std::future::Future<Output = #output> + ::std::marker::Send
        };
    }
    signature.clone()
}

/// The body of a method; `output` is where errors of its result point.
fn send(request: &Request, parameters: &[Parameter], is_async: bool, output: Span) -> TokenStream {
    let (blocking, later) = match request {
        Request::Read(name) => (quote!(attr(#name)), quote!(attr_async(#name))),
        Request::Write(name) => {
            let value = parameters.first().map(Parameter::value);
            (quote!(set_attr(#name, #value)), TokenStream::new())
        }
        Request::Call(name) => (
            quote!(call_method(#name, args)),
            quote!(call_method_async(#name, args)),
        ),
    };
    let args = matches!(request, Request::Call(_)).then(|| arguments(parameters));
    if matches!(request, Request::Write(_)) {
        return quote_spanned!(output=> ::rpyc::__macros::done(self.0.#blocking));
    }
    if is_async {
        let answer = quote_spanned! {output=>
            ::rpyc::__macros::answer(sent.await)
        };
        return quote! {
            #args
            let sent = self.0.#later;
            async move { #answer }
        };
    }
    let answer = quote_spanned!(output=> ::rpyc::__macros::answer(self.0.#blocking));
    quote! {
        #args
        #answer
    }
}

fn arguments(parameters: &[Parameter]) -> TokenStream {
    let positional = parameters.iter().filter_map(|parameter| match parameter {
        Parameter::Positional(..) => Some(parameter.value()),
        _ => None,
    });
    let mut steps = vec![quote! {
        let args = ::rpyc::Args::new(::std::vec![#(#positional),*] as ::std::vec::Vec<::rpyc::Value>);
    }];
    for parameter in parameters {
        match parameter {
            Parameter::Positional(..) => {}
            Parameter::Keyword(ident, ty) if is_option(ty) => {
                let name = ident.unraw().to_string();
                steps.push(quote! {
                    let args = match #ident {
                        ::std::option::Option::Some(value) => args.keyword(#name, value),
                        ::std::option::Option::None => args,
                    };
                });
            }
            Parameter::Keyword(ident, _) => {
                let name = ident.unraw().to_string();
                steps.push(quote!(let args = args.keyword(#name, #ident);));
            }
            Parameter::Rest(ident) => steps.push(quote!(let args = args.and(#ident);)),
        }
    }
    quote!(#(#steps)*)
}

impl Parameter {
    /// The argument as a value. An error points at its type.
    fn value(&self) -> TokenStream {
        match self {
            Self::Positional(ident, ty) | Self::Keyword(ident, ty) => {
                quote_spanned!(ty.span()=> ::rpyc::IntoValue::into_value(#ident))
            }
            Self::Rest(ident) => quote!(#ident),
        }
    }
}

fn parameters(signature: &mut Signature) -> syn::Result<Vec<Parameter>> {
    let mut parameters = Vec::new();
    for input in &mut signature.inputs {
        let FnArg::Typed(parameter) = input else {
            continue;
        };
        if let Some(Parameter::Rest(_)) = parameters.last() {
            let text = "`Args` are all further arguments: nothing can follow";
            return Err(syn::Error::new_spanned(parameter, text));
        }
        let options = Options::take(&mut parameter.attrs, &[Known::Flag("keyword")])?;
        let Pat::Ident(pattern) = &*parameter.pat else {
            let text = "a parameter needs a name here";
            return Err(syn::Error::new_spanned(&parameter.pat, text));
        };
        let (ident, ty) = (pattern.ident.clone(), (*parameter.ty).clone());
        let is_rest = is_named(&ty, "Args");
        parameters.push(match (is_rest, options.span("keyword")) {
            (true, Some(span)) => {
                return Err(syn::Error::new(span, "`Args` have their own keywords"));
            }
            (true, None) => Parameter::Rest(ident),
            (false, Some(_)) => Parameter::Keyword(ident, ty),
            (false, None) => {
                if let Some(Parameter::Keyword(..)) = parameters.last() {
                    let text = "an argument by position can't follow one by name";
                    return Err(syn::Error::new_spanned(parameter, text));
                }
                Parameter::Positional(ident, ty)
            }
        });
    }
    Ok(parameters)
}

fn check_signature(signature: &Signature) -> syn::Result<()> {
    match signature.inputs.first() {
        Some(FnArg::Receiver(receiver))
            if matches!(receiver.kind, ReceiverKind::Reference(_, _, None)) => {}
        Some(FnArg::Receiver(receiver)) => {
            let text = "a proxy can be used by many threads: take `&self`";
            return Err(syn::Error::new_spanned(receiver, text));
        }
        _ => {
            let text = "a method of a remote object takes `&self`";
            return Err(syn::Error::new(signature.ident.span(), text));
        }
    }
    if let Some(keyword) = &signature.asyncness
        && !cfg!(feature = "tokio")
    {
        let text = "an async call needs the feature `tokio` of rpyc";
        return Err(syn::Error::new_spanned(keyword, text));
    }
    let text = "a remote call can fail: return rpyc::Result<..>";
    match &signature.output {
        ReturnType::Type(_, output) => {
            let is_result = matches!(&**output, Type::Path(path)
                if path.path.segments.last().is_some_and(|last| last.ident.to_string().ends_with("Result")));
            if is_result {
                Ok(())
            } else {
                Err(syn::Error::new_spanned(output, text))
            }
        }
        ReturnType::Default => Err(syn::Error::new_spanned(signature, text)),
    }
}

fn request(
    options: &Options,
    signature: &Signature,
    parameters: &[Parameter],
) -> syn::Result<Request> {
    let plain = signature.ident.unraw().to_string();
    let given = options.text("name");
    if let Some(given) = &given {
        check_name(given, false)?;
    }
    let name = given.map_or(plain.clone(), |given| given.value());
    match (options.span("property"), options.span("setter")) {
        (Some(_), Some(span)) => Err(syn::Error::new(
            span,
            "a method reads an attribute or sets it, not both",
        )),
        (Some(span), None) if !parameters.is_empty() => Err(syn::Error::new(
            span,
            "reading an attribute takes nothing but `&self`",
        )),
        (Some(_), None) => Ok(Request::Read(name)),
        (None, Some(span)) => {
            if signature.asyncness.is_some() || !matches!(parameters, [Parameter::Positional(..)]) {
                let text = "a setter is no async fn, and takes `&self` and the new value";
                return Err(syn::Error::new(span, text));
            }
            if options.has("name") {
                return Ok(Request::Write(name));
            }
            let bare = plain.strip_prefix("set_").filter(|bare| !bare.is_empty());
            bare.map(|bare| Request::Write(bare.to_owned()))
                .ok_or_else(|| {
                    let text =
                        "which attribute does it set? Call it `set_x`, or add `name = \"x\"`";
                    syn::Error::new(span, text)
                })
        }
        (None, None) => Ok(Request::Call(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error for a trait with this method, and the source that it points at.
    fn error(method: &str) -> (String, String) {
        let item = syn::parse_str(&format!("trait T {{ {method} }}")).unwrap();
        let error = expand(TokenStream::new(), item).unwrap_err();
        let place = error.span().source_text().unwrap_or_default();
        (error.to_string(), place)
    }

    #[test]
    fn what_can_not_be_asked_of_a_peer_is_pointed_at() {
        for (method, text, place) in [
            (
                "fn f(&self) -> i64;",
                "a remote call can fail: return rpyc::Result<..>",
                "i64",
            ),
            (
                "fn f(&mut self) -> rpyc::Result<()>;",
                "take `&self`",
                "&mut self",
            ),
            ("fn f() -> rpyc::Result<()>;", "takes `&self`", "f"),
            ("const X: i64;", "methods only", "const X: i64;"),
            (
                "#[rpyc(setter)] fn f(&self, x: i64) -> rpyc::Result<()>;",
                "which attribute",
                "setter",
            ),
            (
                "#[rpyc(property)] fn f(&self, x: i64) -> rpyc::Result<()>;",
                "nothing but",
                "property",
            ),
            (
                "fn f(&self, rest: Args, x: i64) -> rpyc::Result<()>;",
                "nothing can follow",
                "x: i64",
            ),
            (
                "fn f(&self, #[rpyc(keyword)] x: i64, y: i64) -> rpyc::Result<()>;",
                "by position",
                "y: i64",
            ),
            (
                "#[rpyc(name = \"a-b\")] fn f(&self) -> rpyc::Result<()>;",
                "is no name",
                "\"a-b\"",
            ),
            (
                "#[rpyc(exposed)] fn f(&self) -> rpyc::Result<()>;",
                "has no place here",
                "exposed",
            ),
        ] {
            let (found, found_place) = error(method);
            assert!(found.contains(text), "{method}: {found}");
            assert_eq!(found_place, place, "{method}");
        }
    }

    #[test]
    fn a_method_with_a_body_is_left_alone() {
        let item = syn::parse_str("trait T { fn twice(&self) -> i64 { 2 } }").unwrap();
        let expanded = expand(TokenStream::new(), item).unwrap().to_string();
        assert_eq!(expanded.matches("twice").count(), 1, "{expanded}");
    }
}
