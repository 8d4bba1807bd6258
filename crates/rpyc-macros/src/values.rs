//! `#[derive(rpyc::FromValue, rpyc::IntoValue)]`: structs from and to values.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Fields, Generics, Path, Type, parse_quote};

use crate::options::{Known, Options};

/// `FromValue` for a struct.
///
/// # Errors
/// It is no struct.
pub(crate) fn expand_from(mut item: DeriveInput) -> syn::Result<TokenStream> {
    let name = item.ident.clone();
    let body = match fields_of(&mut item)? {
        Fields::Unit => quote!(::rpyc::FromValue::from_value(value).map(|()| Self)),
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
            quote!(::rpyc::FromValue::from_value(value).map(Self))
        }
        Fields::Unnamed(fields) => {
            let (count, text) = (fields.unnamed.len(), name.to_string());
            let reads = fields.unnamed.iter().enumerate().map(|(index, field)| {
                let part = format!("{name}.{index}");
                read(&field.ty, &part)
            });
            quote! {
                let mut items = ::rpyc::__macros::items(value, #count, #text)?;
                ::std::result::Result::Ok(Self(#(#reads),*))
            }
        }
        Fields::Named(fields) => {
            let text = name.to_string();
            let mut names = Vec::new();
            let mut reads = Vec::new();
            for field in &mut fields.named {
                let options = Options::take(&mut field.attrs, &[Known::Text("name")])?;
                let Some(ident) = &field.ident else { continue };
                let plain = ident.unraw().to_string();
                names.push(
                    options
                        .text("name")
                        .map_or(plain.clone(), |given| given.value()),
                );
                let read = read(&field.ty, &format!("{name}.{plain}"));
                reads.push(quote!(#ident: #read));
            }
            quote! {
                let mut items = ::rpyc::__macros::fields(value, &[#(#names),*], #text)?;
                ::std::result::Result::Ok(Self { #(#reads),* })
            }
        }
    };
    let generics = bounded(&item.generics, &parse_quote!(::rpyc::FromValue));
    let (generics, arguments, bounds) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::rpyc::FromValue for #name #arguments #bounds {
            fn from_value(
                value: ::rpyc::Value,
            ) -> ::std::result::Result<Self, ::rpyc::ConversionError> {
                #body
            }
        }
    })
}

/// `IntoValue` for a struct.
///
/// # Errors
/// It is no struct.
pub(crate) fn expand_into(mut item: DeriveInput) -> syn::Result<TokenStream> {
    let name = item.ident.clone();
    let write = |ident: &Ident, ty: &Type| quote_spanned!(ty.span()=> ::rpyc::IntoValue::into_value(#ident));
    let body = match fields_of(&mut item)? {
        Fields::Unit => quote!(::rpyc::Value::None),
        fields => {
            let members: Vec<_> = fields.members().collect();
            let bindings: Vec<_> = (0..members.len())
                .map(|index| format_ident!("field_{index}"))
                .collect();
            let values = bindings
                .iter()
                .zip(fields.iter())
                .map(|(binding, field)| write(binding, &field.ty));
            let is_new_type = members.len() == 1 && matches!(fields, Fields::Unnamed(_));
            let value = if is_new_type {
                quote!(#(#values)*)
            } else {
                quote!(::rpyc::Value::Tuple(::std::vec![#(#values),*]))
            };
            quote! {
                let Self { #(#members: #bindings),* } = self;
                #value
            }
        }
    };
    let generics = bounded(&item.generics, &parse_quote!(::rpyc::IntoValue));
    let (generics, arguments, bounds) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::rpyc::IntoValue for #name #arguments #bounds {
            fn into_value(self) -> ::rpyc::Value {
                #body
            }
        }
    })
}

/// The next item as a field, which errors name.
fn read(ty: &Type, part: &str) -> TokenStream {
    quote_spanned!(ty.span()=> ::rpyc::__macros::field::<#ty>(&mut items, #part)?)
}

fn fields_of(item: &mut DeriveInput) -> syn::Result<&mut Fields> {
    match &mut item.data {
        Data::Struct(data) => Ok(&mut data.fields),
        Data::Enum(data) => Err(syn::Error::new_spanned(
            data.enum_token,
            "an enum has no one shape: implement the trait by hand",
        )),
        Data::Union(data) => Err(syn::Error::new_spanned(
            data.union_token,
            "a union has no one shape: implement the trait by hand",
        )),
    }
}

/// The generics with a bound on each type.
fn bounded(generics: &Generics, bound: &Path) -> Generics {
    let mut generics = generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(#bound));
    }
    generics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_shape_is_pointed_at() {
        for expand in [expand_from, expand_into] {
            let error = expand(syn::parse_str("enum E { A }").unwrap()).unwrap_err();
            assert!(error.to_string().contains("by hand"), "{error}");
            assert_eq!(error.span().source_text().as_deref(), Some("enum"));
        }
    }
}
