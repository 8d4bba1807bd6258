//! `#[derive(rpyc::Error)]`: variants to classes of exceptions.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Fields, Member};

use crate::options::{Known, Options, check_name};

/// `From<Self> for rpyc::Exception`.
///
/// # Errors
/// What makes no exception, where it stands.
pub(crate) fn expand(mut item: DeriveInput) -> syn::Result<TokenStream> {
    let name = &item.ident;
    let text = name.to_string();
    let fallback = quote!(&::rpyc::__macros::dotted(::std::module_path!(), #text));
    let arms = match &mut item.data {
        Data::Struct(data) => {
            vec![arm(
                &quote!(#name),
                &mut item.attrs,
                &mut data.fields,
                &fallback,
            )?]
        }
        Data::Enum(data) => {
            let options = Options::take(&mut item.attrs, &[Known::Text("class")])?;
            let fallback = class_of(&options)?.unwrap_or(fallback);
            let arms = data.variants.iter_mut().map(|variant| {
                let ident = &variant.ident;
                let path = quote!(#name::#ident);
                arm(&path, &mut variant.attrs, &mut variant.fields, &fallback)
            });
            arms.collect::<syn::Result<_>>()?
        }
        Data::Union(data) => {
            let text = "an error is an enum or a struct";
            return Err(syn::Error::new_spanned(data.union_token, text));
        }
    };
    let (generics, arguments, bounds) = item.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::std::convert::From<#name #arguments> for ::rpyc::Exception #bounds {
            fn from(error: #name #arguments) -> Self {
                let text = ::std::string::ToString::to_string(&error);
                let _ = &text;
                match error {
                    #(#arms)*
                }
            }
        }
    })
}

/// One variant, or the struct: its fields become an exception with `text`.
fn arm(
    path: &TokenStream,
    attributes: &mut Vec<Attribute>,
    fields: &mut Fields,
    fallback: &TokenStream,
) -> syn::Result<TokenStream> {
    let options = Options::take(
        attributes,
        &[Known::Text("class"), Known::Flag("transparent")],
    )?;
    let mut travelling = Vec::new();
    for (index, field) in fields.iter_mut().enumerate() {
        let known = [Known::Flag("attribute")];
        let Some(span) = Options::take(&mut field.attrs, &known)?.span("attribute") else {
            continue;
        };
        match &field.ident {
            Some(ident) => travelling.push((ident.clone(), field.ty.span())),
            None => {
                let text = format!("field {index} has no name, so the attribute would have none");
                return Err(syn::Error::new(span, text));
            }
        }
    }
    if let Some(span) = options.span("transparent") {
        let mut all = fields.members();
        let (Some(member), None, false) = (all.next(), all.next(), options.has("class")) else {
            let text =
                "a transparent variant has one field and no class: the field is the exception";
            return Err(syn::Error::new(span, text));
        };
        let into = quote_spanned!(fields.span()=> ::std::convert::Into::into(inner));
        return Ok(quote!(#path { #member: inner } => #into,));
    }
    let class = class_of(&options)?.unwrap_or_else(|| fallback.clone());
    let bindings = travelling.iter().map(|(ident, _)| {
        let (member, binding) = (Member::Named(ident.clone()), format_ident!("field_{ident}"));
        quote!(#member: #binding,)
    });
    let attributes = travelling.iter().map(|(ident, span)| {
        let (name, binding) = (ident.to_string(), format_ident!("field_{ident}"));
        quote_spanned!(*span=> .with_attribute(#name, #binding))
    });
    Ok(quote! {
        #path { #(#bindings)* .. } => ::rpyc::Exception::new(#class, text) #(#attributes)*,
    })
}

fn class_of(options: &Options) -> syn::Result<Option<TokenStream>> {
    options
        .text("class")
        .map(|class| check_name(&class, true).map(|()| quote!(#class)))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(item: &str) -> (String, String) {
        let error = expand(syn::parse_str(item).unwrap()).unwrap_err();
        let place = error.span().source_text().unwrap_or_default();
        (error.to_string(), place)
    }

    #[test]
    fn what_makes_no_exception_is_pointed_at() {
        for (item, text, place) in [
            (
                "enum E { #[rpyc(class = \"no class\")] A }",
                "is no dotted name",
                "\"no class\"",
            ),
            (
                "enum E { #[rpyc(transparent)] A(i64, i64) }",
                "has one field",
                "transparent",
            ),
            (
                "enum E { A(#[rpyc(attribute)] i64) }",
                "has no name",
                "attribute",
            ),
            (
                "#[rpyc(klass = \"A\")] enum E { A }",
                "known are `class`",
                "klass",
            ),
            ("union U { a: i64 }", "an enum or a struct", "union"),
        ] {
            let (found, found_place) = error(item);
            assert!(found.contains(text), "{item}: {found}");
            assert_eq!(found_place, place, "{item}");
        }
    }
}
